"""Look after payments and refunds that were begun and not ended: claims that ran out, doubts, holds that are over."""

from __future__ import annotations

import logging

from common.charges import Charges
from common.logs import log
from common.reconcile.step import Outcome
from common.refunds import Refunds


async def run_once(charges: Charges, refunds: Refunds, seconds: float) -> Outcome:
    """Work for `seconds`, at the pace that all instances share; counts what was `looked_up` and `refunded`."""
    looked_up, is_left = await charges.work(seconds, only_started=True)
    refunded = await refunds.work()
    if looked_up or refunded:
        log(logging.INFO, "looked after payments in doubt", looked_up=looked_up, refunded=refunded)
    return Outcome({"looked_up": looked_up, "refunded": refunded}, 0 if is_left else None)
