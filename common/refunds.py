"""Give money back: each refund once, whatever crashes, however its calls are answered."""

from __future__ import annotations

import asyncio
import logging
import time

from common.charges import Caller
from common.database import DatabaseUnavailable
from common.logs import log
from common.payment_contracts import ClaimedRefund, RefundBounds, RefundSettled, RefundSettlement
from common.payments import InDoubt, PaymentProvider, Refused, doubt_seconds
from common.settings import (
    LEASE_SECONDS,
    ONE_CHARGE_SECONDS,
    REFUND_SECONDS,
    REFUNDS_MAX,
)


class Refunds:
    """Makes refunds that are written down. Use it from one event loop only."""

    def __init__(self, database: Caller, provider: PaymentProvider) -> None:
        self._database, self._provider = database, provider

    async def work(self, refund_ids: list[str] | None = None) -> int:
        """Make the refunds that are due, or those that are named, a few at a time; how many were tried.

        What is left after REFUND_SECONDS, in which a silent provider lets hardly any through, is the next one's.

        Raises:
            DatabaseUnavailable: they can't be claimed now.
        """
        bounds: RefundBounds = {"limit": REFUNDS_MAX, "lease_seconds": LEASE_SECONDS}
        if refund_ids is not None:
            bounds["refund_ids"] = refund_ids
        deadline = time.monotonic() + REFUND_SECONDS
        count = 0
        while time.monotonic() < deadline and (claimed := await self._claim(bounds)):
            await asyncio.gather(*(self._look_after(refund) for refund in claimed))
            count += len(claimed)
        return count

    async def _claim(self, bounds: RefundBounds) -> list[ClaimedRefund]:
        claimed: list[ClaimedRefund] = await self._database.call("claim_refunds", bounds)
        return claimed

    async def _look_after(self, refund: ClaimedRefund) -> None:
        try:
            async with asyncio.timeout(ONE_CHARGE_SECONDS):
                settlement = await self._carry_out(refund)
        except Refused as error:  # it can't even be looked up, as with another account's key: a person has to look
            log(logging.ERROR, "Stripe refuses to show refunds", order_id=refund["order_id"], cause=error)
            settlement = _again(refund, "in_doubt", str(error))
        except (InDoubt, TimeoutError) as error:
            settlement = _again(refund, "in_doubt", str(error) or "the provider took too long")
        try:
            settled: list[RefundSettled] = await self._database.call("settle_refunds", [settlement])
        except DatabaseUnavailable:
            return  # when the claim has run out, it is looked for before it is asked for again
        if settled[0]["outcome"] == "failed":
            log(logging.ERROR, "a refund can't be made; look at the payment", order_id=refund["order_id"])

    async def _carry_out(self, refund: ClaimedRefund) -> RefundSettlement:
        unmade: RefundSettlement
        if refund["attempt"] > 1 and (made := await self._provider.find_refund(refund)):
            # an earlier call's answer got lost; to repeat the call would do, but only while the provider knows its key
            return _succeeded(refund, made)
        try:
            return _succeeded(refund, await self._provider.refund(refund))
        except Refused as error:
            # it may be refused because it was made, by a call whose answer got lost
            unmade = {"refund_id": refund["refund_id"], "outcome": "failed", "error": str(error)}
        except InDoubt as error:
            if not error.is_answered:
                raise
            # the call is over, and its key brings this answer for ever: the provider's list says what it did
            unmade = _again(refund, "unmade", str(error))
        made = await self._provider.find_refund(refund)
        return unmade if made is None else _succeeded(refund, made)


def _succeeded(refund: ClaimedRefund, ref: str) -> RefundSettlement:
    return {"refund_id": refund["refund_id"], "outcome": "succeeded", "provider_ref": ref}


def _again(refund: ClaimedRefund, outcome: str, cause: str) -> RefundSettlement:
    return {
        "refund_id": refund["refund_id"],
        "outcome": "unmade" if outcome == "unmade" else "in_doubt",
        "attempt": refund["attempt"],
        "retry_seconds": doubt_seconds(refund["attempt"]),
        "error": cause,
    }
