"""End the drops whose time is over; what they accepted goes on being decided."""

from __future__ import annotations

import logging

from common.database import Database
from common.drop_contracts import CloseBounds, ClosedCount
from common.logs import log
from common.reconcile.step import Outcome


async def run_once(database: Database, limit: int) -> Outcome:
    """End up to `limit` live drops, counted as `closed`; two runs at once share them out."""
    bounds: CloseBounds = {"limit": limit}
    found: ClosedCount = await database.call("close_drops", bounds)
    if found["closed"]:
        log(logging.INFO, "drops have ended", closed=found["closed"])
    return Outcome({"closed": found["closed"]}, 0 if found["closed"] == limit else None)
