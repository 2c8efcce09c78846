"""What the SQL functions that move money take and return, and what the topic payments carries."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

Ending = Literal["buyer_cancelled", "operator", "hold_expired"]
DeclineReason = Literal["card_declined", "insufficient_funds", "authentication_failed"]


class PaymentBounds(TypedDict):
    """claim_payments takes this: `pace` is payments a second, `burst` at once; `order_ids` go beside both."""

    limit: int
    pace: float
    burst: int
    lease_seconds: int
    soon_seconds: NotRequired[float]
    only_started: NotRequired[bool]
    order_ids: NotRequired[list[str]]


class ClaimedPayment(TypedDict):
    """A payment to be looked after; `ending` says why it is to be called off, if it is."""

    order_id: str
    drop_id: str
    attempt: int
    provider_ref: str | None
    ending: Ending | None
    amount_minor: int
    currency: str
    payment_method: str


class ClaimedPayments(TypedDict):
    """claim_payments returns this; `more` are left for lack of room or pace, or are due within soon_seconds."""

    claimed: list[ClaimedPayment]
    more: bool


class Settlement(TypedDict):
    """settle_payments takes a list of these; what each outcome needs is told there."""

    order_id: str
    outcome: Literal["created", "captured", "action_required", "declined", "cancelled", "in_doubt"]
    provider_ref: NotRequired[str | None]
    attempt: NotRequired[int]
    captured_minor: NotRequired[int]
    client_secret: NotRequired[str]
    reason: NotRequired[DeclineReason]
    retry_seconds: NotRequired[float]
    error: NotRequired[str]


class Settled(TypedDict):
    """settle_payments returns one for each item, in order; `provider_ref` is the order's."""

    order_id: str
    outcome: Literal[
        "reserved",
        "action_required",
        "confirmed",
        "declined",
        "expired",
        "cancelled",
        "refunded",
        "over",
        "refund_due",
        "unknown_payment",
        "wrong_amount",
    ]
    provider_ref: str | None


ProviderState = Literal["captured", "cancelled", "failed"]


class ProviderEvent(TypedDict):
    """What the topic payments carries of a provider's event: which payment, and how it stands."""

    schema_version: int
    kind: Literal["provider_event"]
    event_id: str
    order_id: str
    provider_ref: str
    state: ProviderState
    captured_minor: int


class ExpireBounds(TypedDict):
    """expire_holds takes this."""

    limit: int


class ExpiredCount(TypedDict):
    """expire_holds returns how many holds it found over."""

    expired: int


class RefundRequest(TypedDict):
    """request_refund takes this; without an amount it is all that is left."""

    refund_id: str
    order_id: str
    amount_minor: NotRequired[int | None]
    restock: NotRequired[bool]


class RefundRequested(TypedDict):
    """request_refund returns this; `left_minor` can still be refunded afterwards."""

    outcome: Literal["recorded", "replayed", "conflict", "unknown_order", "nothing_left", "too_much", "not_all"]
    refund_id: str
    amount_minor: int
    left_minor: int


class RefundBounds(TypedDict):
    """claim_refunds takes this."""

    limit: int
    lease_seconds: int
    refund_ids: NotRequired[list[str]]


class ClaimedRefund(TypedDict):
    """claim_refunds returns a list of these; `provider_ref` is the payment's."""

    refund_id: str
    order_id: str
    attempt: int
    key_number: int
    amount_minor: int
    provider_ref: str


class RefundSettlement(TypedDict):
    """settle_refunds takes a list of these; what each outcome means is told there."""

    refund_id: str
    outcome: Literal["succeeded", "failed", "in_doubt", "unmade"]
    attempt: NotRequired[int]
    provider_ref: NotRequired[str]
    retry_seconds: NotRequired[float]
    error: NotRequired[str]


class RefundSettled(TypedDict):
    """settle_refunds returns one for each item, in order, with the refund's state."""

    refund_id: str
    outcome: Literal["due", "claimed", "succeeded", "failed", "unknown_refund"]
