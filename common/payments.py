"""What the engine asks of a payment provider: the whole of the interface, with the words that it speaks.

A payment is created unconfirmed, its id is stored, and only that id is ever confirmed; in doubt it is looked up. So a
call may be repeated after any crash, and no sequence of them charges twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from common.payment_contracts import ClaimedPayment, ClaimedRefund, DeclineReason
from common.settings import DOUBT_SECONDS, DOUBT_SECONDS_MAX


class InDoubt(Exception):
    """No answer, or none that says what was done. Look it up later.

    `is_answered`: the provider did answer (5xx), so the call is over, and its idempotency key may be spent.
    """

    def __init__(self, cause: str, *, is_answered: bool = False) -> None:
        super().__init__(cause)
        self.is_answered = is_answered


class Refused(Exception):
    """The provider will not do it, however often it is asked."""


# `open`: nobody has tried to charge it. `failed`: the buyer's bank or the buyer refused, and another card could still
# be tried. `processing`: the bank has not answered yet. Only `captured` and `cancelled` are final.
State = Literal["open", "action_required", "processing", "failed", "captured", "cancelled"]


def doubt_seconds(attempt: int) -> float:
    """The pause after an attempt that left things in doubt: twice as long each time, up to DOUBT_SECONDS_MAX."""
    return min(DOUBT_SECONDS_MAX, float(DOUBT_SECONDS * 2 ** min(attempt - 1, 10)))  # the exponent never matters


@dataclass(frozen=True)
class Standing:
    """How a payment stands at the provider."""

    ref: str
    state: State
    captured_minor: int = 0
    reason: DeclineReason | None = None  # why the last attempt to charge it failed
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ProviderPayment:
    """A payment in the provider's own books."""

    ref: str
    order_id: str
    state: State
    amount_minor: int
    currency: str
    captured_minor: int
    refunded_minor: int


class PaymentProvider(Protocol):
    """A provider of payments by card. Every call is bounded in time, and raises InDoubt or Refused."""

    async def create(self, payment: ClaimedPayment) -> str:
        """The id of an unconfirmed payment for the order's amount; asked again, the same or another unconfirmed one."""
        ...

    async def look_up(self, ref: str) -> Standing:
        """How it stands now."""
        ...

    async def confirm(self, ref: str, attempt: int) -> Standing:
        """Charge it, unless it was; how it stands then."""
        ...

    async def cancel(self, ref: str, attempt: int) -> Standing:
        """Make sure that nobody can charge it any more, unless somebody has; how it stands then."""
        ...

    async def refund(self, refund: ClaimedRefund) -> str:
        """Give money back, once for each key; the refund's id at the provider."""
        ...

    async def find_refund(self, refund: ClaimedRefund) -> str | None:
        """The id of a refund that was made, whatever its call was answered."""
        ...

    def payments_since(self, since: datetime, drop_id: str) -> AsyncIterator[ProviderPayment]:
        """A drop's payments in the provider's books, made at or after `since`."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
