"""Charge what is due, once: claim it, make the provider's truth ours, write it down.

A claim is looked after from its row alone, so it doesn't matter who began it, or how far he got. What the provider says
is settled in batches; what it doesn't say is in doubt, and is looked up later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

from common.batching import BadItem, Batcher, Overloaded
from common.database import DatabaseUnavailable
from common.logs import log
from common.payment_contracts import ClaimedPayment, ClaimedPayments, PaymentBounds, Settled, Settlement
from common.payments import InDoubt, PaymentProvider, Refused, Standing, doubt_seconds
from common.settings import (
    ACTION_LOOK_SECONDS,
    CHARGES_MAX,
    CLAIM_PAUSE_SECONDS,
    FAILURE_PAUSE_SECONDS,
    FAILURES_MAX,
    LEASE_SECONDS,
    ONE_CHARGE_SECONDS,
    PAYMENTS_BURST,
    QUEUE_LENGTH_MAX,
    SETTLE_BATCH_MAX,
    SOON_SECONDS,
)


class Caller(Protocol):
    """Calls SQL functions."""

    async def call(self, function: str, argument: Any) -> Any:
        """What a SQL function of common/contracts.py answers."""
        ...


class Charges:
    """Looks after payments for one instance. Use it from one event loop only."""

    def __init__(self, database: Caller, provider: PaymentProvider, pace: float) -> None:
        self._database, self._provider, self._pace = database, provider, pace
        self._settlements: Batcher[Settlement, Settled] = Batcher(
            self._settle_batch, batch_max=SETTLE_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )
        self._failures = 0  # of the provider, one after the other
        self._paused_until = 0.0

    async def work(self, seconds: float, *, only_started: bool = False) -> tuple[int, bool]:
        """Look after due payments for `seconds`, and end sooner when there are none; what was begun is ended.

        `only_started` leaves those aside that nobody has tried yet. How many it were, and whether any are left.

        Raises:
            DatabaseUnavailable: nothing can be claimed now.
        """
        deadline = time.monotonic() + seconds
        under_way: set[asyncio.Task[None]] = set()
        count, more = 0, True
        try:
            while time.monotonic() < deadline:
                if room := self._room(len(under_way)):
                    found = await self._claim(room, only_started)
                    under_way |= {asyncio.create_task(self._look_after(payment)) for payment in found["claimed"]}
                    count, more = count + len(found["claimed"]), found["more"]
                if not (more or under_way):
                    break
                await asyncio.sleep(CLAIM_PAUSE_SECONDS)
                under_way = {task for task in under_way if not task.done()}
        finally:
            await asyncio.gather(*under_way)
        return count, more

    async def work_on(self, order_ids: list[str]) -> None:
        """Look after these payments at once, beside the pace, if they are due or wait for their buyers.

        Raises:
            DatabaseUnavailable: nothing can be claimed now.
        """
        found = await self._claim(len(order_ids), False, order_ids)
        await asyncio.gather(*(self._look_after(payment) for payment in found["claimed"]))

    async def settle(self, settlement: Settlement) -> Settled:
        """Write down what the provider says of a payment.

        Raises:
            DatabaseUnavailable, Overloaded, BadItem: it isn't written down.
        """
        settled = await self._settlements.submit(settlement)
        if settled["outcome"] in ("unknown_payment", "wrong_amount"):
            log(
                logging.ERROR,
                "the provider has a payment that is not ours",
                outcome=settled["outcome"],
                order_id=settlement["order_id"],
                provider_ref=settlement.get("provider_ref"),
            )
        elif settled["outcome"] == "refund_due":
            log(logging.WARNING, "money came for an order that is over; it goes back", order_id=settlement["order_id"])
        return settled

    async def _claim(self, limit: int, only_started: bool, order_ids: list[str] | None = None) -> ClaimedPayments:
        bounds: PaymentBounds = {
            "limit": limit,
            "pace": self._pace,
            "burst": PAYMENTS_BURST,
            "lease_seconds": LEASE_SECONDS,
            "soon_seconds": SOON_SECONDS,
            "only_started": only_started,
        }
        if order_ids is not None:
            bounds["order_ids"] = order_ids
        found: ClaimedPayments = await self._database.call("claim_payments", bounds)
        return found

    async def _look_after(self, payment: ClaimedPayment) -> None:
        try:
            try:
                async with asyncio.timeout(ONE_CHARGE_SECONDS):
                    settlement = await self._carry_out(payment)
                self._failures = 0
            except (InDoubt, TimeoutError) as error:
                settlement = _doubt(payment, str(error) or "Stripe took too long")
                self._note_failure()
            except Refused as error:  # it can't even be looked up, as with another account's key: a person has to look
                log(logging.ERROR, "Stripe refuses to show a payment", order_id=payment["order_id"], cause=error)
                settlement = _doubt(payment, str(error))
            if settlement is not None:
                await self.settle(settlement)
        except (DatabaseUnavailable, Overloaded, BadItem) as error:
            # what the provider did is looked up when the claim has run out
            log(logging.WARNING, "a payment could not be settled", order_id=payment["order_id"], cause=error)

    async def _carry_out(self, payment: ClaimedPayment) -> Settlement | None:
        """Bring a payment on at the provider, and say how it stands; None if the order no longer wants one."""
        ref, ending = payment["provider_ref"], payment["ending"]
        if ref is None:
            if ending:  # without an id nothing was ever confirmed, nor will be: settling says so to whoever is late
                return {"order_id": payment["order_id"], "outcome": "cancelled", "provider_ref": None}
            try:
                ref = await self._create(payment)
            except Refused as error:
                log(logging.WARNING, "a payment can't be made", order_id=payment["order_id"], cause=error)
                return {
                    "order_id": payment["order_id"],
                    "outcome": "declined",
                    "provider_ref": None,
                    "reason": "card_declined",
                }
            if ref is None:
                return None
            standing = Standing(ref, "open")
        else:
            standing = await self._provider.look_up(ref)
        if standing.state == "open" and not ending:
            standing = await self._provider.confirm(ref, payment["attempt"])
        reason = standing.reason
        if standing.state == "failed" or (ending and standing.state in ("open", "action_required")):
            # a buyer's browser could still pay it with another card: it must be over before the units are given away
            standing = await self._provider.cancel(ref, payment["attempt"])
        return _settlement(payment, standing, standing.reason or reason)

    async def _create(self, payment: ClaimedPayment) -> str | None:
        """The order's one payment at the provider, whoever was first to store it; None if it wants none any more."""
        made = await self._provider.create(payment)
        stored = await self.settle({"order_id": payment["order_id"], "outcome": "created", "provider_ref": made})
        return None if stored["outcome"] == "over" else stored["provider_ref"]

    def _room(self, under_way: int) -> int:
        """How many more may be tried now. While the provider is down it is one at a time, to see whether it is back."""
        if self._failures < FAILURES_MAX:
            return CHARGES_MAX - under_way
        return int(not under_way and time.monotonic() >= self._paused_until)

    def _note_failure(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES_MAX:
            self._paused_until = time.monotonic() + FAILURE_PAUSE_SECONDS

    async def _settle_batch(self, batch: Sequence[Settlement]) -> list[Settled]:
        settled: list[Settled] = await self._database.call("settle_payments", batch)
        return settled


def _settlement(payment: ClaimedPayment, standing: Standing, reason: Any) -> Settlement:
    found: Settlement = {"order_id": payment["order_id"], "outcome": "in_doubt", "provider_ref": standing.ref}
    match standing.state:
        case "captured":
            return {**found, "outcome": "captured", "captured_minor": standing.captured_minor}
        case "action_required":
            pause = _growing(ACTION_LOOK_SECONDS, payment["attempt"])
            secret = standing.client_secret or ""
            return {**found, "outcome": "action_required", "client_secret": secret, "retry_seconds": pause}
        case "cancelled" if payment["ending"] is None and reason is not None:
            return {**found, "outcome": "declined", "reason": reason}
        case "cancelled":
            return {**found, "outcome": "cancelled"}
    return _doubt(payment, f"the payment is {standing.state}")


def _doubt(payment: ClaimedPayment, cause: str) -> Settlement:
    return {
        "order_id": payment["order_id"],
        "outcome": "in_doubt",
        "attempt": payment["attempt"],
        "retry_seconds": doubt_seconds(payment["attempt"]),
        "error": cause,
    }


def _growing(seconds: float, attempt: int) -> float:
    """Twice as long at each attempt; the exponent's bound is far above any pause that is meant."""
    return float(seconds * 2 ** min(attempt - 1, 10))
