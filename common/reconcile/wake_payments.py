"""Wake charge_order when payments are due and nobody looks after them: a wake-up got lost, or its taker died."""

from __future__ import annotations

from common.database import Database
from common.publisher import Publisher
from common.reconcile.step import Outcome
from common.settings import RECONCILE_PAUSE_SECONDS
from common.wake_up import wake_charge_order


async def run_once(database: Database, publisher: Publisher) -> Outcome:
    """Publish one wake-up if a payment has been due for a while; one too many does no harm."""
    if not (await database.read("SELECT is_waiting FROM waiting_payments"))[0]["is_waiting"]:
        return Outcome({"woken": 0}, None)
    is_woken = await wake_charge_order(publisher)
    return Outcome({"woken": int(is_woken)}, None if is_woken else RECONCILE_PAUSE_SECONDS)
