"""Call off the payments of orders whose buyers' time is over; their units go back on sale when the provider agrees."""

from __future__ import annotations

import logging

from common.database import Database
from common.logs import log
from common.payment_contracts import ExpireBounds, ExpiredCount
from common.reconcile.step import Outcome


async def run_once(database: Database, limit: int) -> Outcome:
    """Mark the payments of up to `limit` orders, counted as `expired`; two runs at once share them out."""
    bounds: ExpireBounds = {"limit": limit}
    found: ExpiredCount = await database.call("expire_holds", bounds)
    if found["expired"]:
        log(logging.INFO, "holds are over", expired=found["expired"])
    # at once again: what was marked has to be looked after
    return Outcome({"expired": found["expired"]}, 0 if found["expired"] else None)
