"""Forget who bought, when a drop's time for keeping that is over; counters, ledger and money stay."""

from __future__ import annotations

import logging

from common.database import Database
from common.drop_contracts import EraseBounds, ErasedCount
from common.logs import log
from common.reconcile.step import Outcome


async def run_once(database: Database, limit: int, retention_days: int) -> Outcome:
    """Erase about `limit` orders of one drop, and `limit` rejected messages; of two runs at once one does nothing."""
    bounds: EraseBounds = {"limit": limit, "retention_days": retention_days}
    erased: ErasedCount = await database.call("erase_personal_data", bounds)
    orders, messages, drops = erased["orders"], erased["messages"], erased["drops"]
    if orders or messages or drops:
        log(logging.INFO, "personal data past its time was erased", orders=orders, messages=messages, drops=drops)
    counts = {"orders": orders, "messages": messages, "drops": drops}
    return Outcome(counts, 0 if any(counts.values()) else None)
