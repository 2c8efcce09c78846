"""Call off the payments of orders whose buyers' time is over; their units go back on sale when the provider agrees."""

from __future__ import annotations

import logging

from common.database import Database
from common.logs import log
from common.payment_contracts import ExpireBounds, ExpiredCount
from common.publisher import Publisher
from common.reconcile.step import Outcome
from common.wake_up import wake_charge_order


async def run_once(database: Database, payments: Publisher, limit: int) -> Outcome:
    """Mark the payments of up to `limit` orders, counted as `expired`; two runs at once share them out.

    charge_order is woken to look after them; if it can't be, the next run's look_up does it.
    """
    bounds: ExpireBounds = {"limit": limit}
    found: ExpiredCount = await database.call("expire_holds", bounds)
    if found["expired"]:
        log(logging.INFO, "holds are over", expired=found["expired"])
        await wake_charge_order(payments)
    return Outcome({"expired": found["expired"]}, 0 if found["expired"] == limit else None)
