"""What the SQL functions take and return, one typed counterpart each; a test holds them against the database."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from common.drop_contracts import (
    Acceptance,
    AcceptedCount,
    AuditBounds,
    AuditClaim,
    AuditRecorded,
    AuditResult,
    CloseBounds,
    ClosedCount,
    CustomerErased,
    CustomerErasure,
    DropRef,
    DropState,
    EraseBounds,
    ErasedCount,
    Reported,
    ShownItem,
)
from common.models import OrderStatus

AcceptOutcome = Literal[
    "created",
    "replayed",
    "conflict",
    "drop_not_found",
    "not_open",
    "closed",
    "paused",
    "unknown_sku",
    "payment_method_required",
    "price_changed",
    "sold_out",
    "payments_unavailable",
]


class AcceptItem(TypedDict):
    """accept_orders takes a list of these; `request` may be encoded already (orjson.Fragment)."""

    order_id: str
    drop_id: str
    idempotency_key: str
    fingerprint: str
    request: Any
    payable: bool


class AcceptVerdict(TypedDict):
    """accept_orders returns one for each item, in order."""

    outcome: AcceptOutcome
    order_id: str
    amount_minor: NotRequired[int]
    starts_at: NotRequired[str]
    unknown_skus: NotRequired[list[str]]
    sold_out_skus: NotRequired[list[str]]


class OrderRef(TypedDict):
    """reserve_orders and mark_unpublished take a list of these."""

    order_id: str


class MarkedCount(TypedDict):
    """mark_unpublished returns how many of them still waited."""

    marked: int


class ReserveOutcome(TypedDict):
    """reserve_orders returns one for each distinct id, in any order; `fingerprint` is the stored one."""

    order_id: str
    outcome: Literal[
        "reserved",
        "action_required",
        "confirmed",
        "declined",
        "expired",
        "cancelled",
        "refunded",
        "sold_out",
        "rejected",
        "paused",
        "unknown_order",
    ]
    fingerprint: str | None


class AdmitItem(TypedDict):
    """admit_orders takes a list of these; `published_at` is Pub/Sub's publish time, as RFC 3339."""

    order_id: str
    drop_id: str
    idempotency_key: str
    fingerprint: str
    request: Any
    amount_minor: int
    published_at: str


class AdmitOutcome(TypedDict):
    """admit_orders returns one for each item, in order."""

    order_id: str
    outcome: Literal["stored", "drop_not_found", "conflict"]


class OrderOutcome(TypedDict):
    """release_orders returns one for each distinct id, in any order."""

    order_id: str
    outcome: Literal[
        "cancelled", "cancelling", "too_late", "sold_out", "rejected", "declined", "expired", "unknown_order"
    ]


class ReleaseItem(TypedDict):
    """release_orders takes a list of these."""

    order_id: str
    reason: Literal["buyer_cancelled", "operator"]


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


class RejectedMessage(TypedDict):
    """reject_messages takes a list of these."""

    id: str
    topic: str
    reason: str
    body: str


class RejectedCount(TypedDict):
    """reject_messages returns how many it had not recorded before."""

    recorded: int


class ClaimBounds(TypedDict):
    """claim_waiting_orders takes this."""

    limit: int
    after_seconds: int
    pause_seconds_max: int


class OrderMessage(TypedDict):
    """claim_waiting_orders returns a list of these; the same document goes through the orders topic."""

    schema_version: int
    order_id: str
    idempotency_key: str
    fingerprint: str
    request: Any
    amount_minor: int


class NewItem(TypedDict):
    """A SKU of a new drop; without a title it goes by its SKU."""

    sku: str
    title: NotRequired[str | None]
    unit_price_minor: int
    stock: int


class NewDrop(TypedDict):
    """create_drop takes this. Times are ISO 8601; left out or null, they mean now, and a year from the start."""

    id: str
    name: NotRequired[str | None]
    currency: str
    starts_at: NotRequired[str | None]
    ends_at: NotRequired[str | None]
    state: NotRequired[DropState]
    per_customer_limit: NotRequired[int | None]
    hold_seconds: NotRequired[int]
    order_id_key_version: NotRequired[int]
    items: list[NewItem]


class ShownDrop(TypedDict):
    """A row of the view shown_drops."""

    drop_id: str
    name: str
    state: DropState
    currency: str
    starts_at: str
    ends_at: str
    per_customer_limit: int | None
    hold_seconds: int
    order_id_key_version: int
    items: list[ShownItem]


class CreatedDrop(TypedDict):
    """create_drop returns this: the drop as it is, which for `exists` may be another than the wanted one."""

    outcome: Literal["created", "exists"]
    drop: ShownDrop


class StateChange(TypedDict):
    """set_drop_state takes this; `from_states` are those that the change may come from, if not any."""

    drop_id: str
    state: DropState
    from_states: NotRequired[list[DropState]]


class StateChanged(TypedDict):
    """set_drop_state returns this, with the state before."""

    outcome: Literal["ok", "unchanged", "drop_not_found", "not_allowed"]
    state: DropState | None


class Restock(TypedDict):
    """restock_item takes this; the same ref adds its units once."""

    drop_id: str
    sku: str
    quantity: int
    ref: str


class Restocked(TypedDict):
    """restock_item returns this."""

    outcome: Literal["ok", "replayed", "drop_not_found", "unknown_sku"]
    stock: NotRequired[int]


class EventBounds(TypedDict):
    """claim_events takes this; `limit` is of orders."""

    limit: int
    lease_seconds: int


class EventPayment(TypedDict):
    """How the money of an event's order stands when the event is published."""

    provider: str
    state: Literal["due", "claimed", "action_required", "captured", "declined", "cancelled"]
    captured_minor: int
    refunded_minor: int
    expires_at: str | None


class EventLine(TypedDict):
    """A line of an event's order."""

    sku: str
    quantity: int
    unit_price_minor: int


class EventOrder(TypedDict):
    """An order as of an event: as the API shows it, without anything personal."""

    order_id: str
    drop_id: str
    status: OrderStatus
    reason: str | None
    items: list[EventLine]
    amount_minor: int
    currency: str
    accepted_at: str
    updated_at: str
    payment: EventPayment | None


class OrderEvent(TypedDict):
    """claim_events returns a list of these, each order's one after the other; the topic order-events carries them."""

    event_id: str
    seq: int
    type: str
    occurred_at: str
    order: EventOrder


class PublishedEvents(TypedDict):
    """mark_events_published takes a list of these: the number of the order's last event that is published, or 0."""

    order_id: str
    seq: int


class MarkedEvents(TypedDict):
    """mark_events_published returns how many events it marked."""

    marked: int


class MessageRef(TypedDict):
    """retry_messages and drop_messages take a list of these."""

    id: str


class TriedMessage(TypedDict):
    """finish_retries takes a list of these; `retry_at` is when it was asked for."""

    id: str
    retry_at: str


class RetryOutcome(TypedDict):
    """retry_messages returns one for each item, in order."""

    id: str
    outcome: Literal["asked", "erased", "unknown_message"]


class FinishedRetries(TypedDict):
    """finish_retries returns how many messages are done with."""

    finished: int


class DroppedCount(TypedDict):
    """drop_messages returns how many there were."""

    dropped: int


class Contract(NamedTuple):
    """The types of a SQL function's one argument and of its answer."""

    takes: Any
    returns: Any


CONTRACTS = {
    "accept_orders": Contract(list[AcceptItem], list[AcceptVerdict]),
    "mark_unpublished": Contract(list[OrderRef], MarkedCount),
    "reserve_orders": Contract(list[OrderRef], list[ReserveOutcome]),
    "admit_orders": Contract(list[AdmitItem], list[AdmitOutcome]),
    "release_orders": Contract(list[ReleaseItem], list[OrderOutcome]),
    "claim_payments": Contract(PaymentBounds, ClaimedPayments),
    "settle_payments": Contract(list[Settlement], list[Settled]),
    "expire_holds": Contract(ExpireBounds, ExpiredCount),
    "request_refund": Contract(RefundRequest, RefundRequested),
    "claim_refunds": Contract(RefundBounds, list[ClaimedRefund]),
    "settle_refunds": Contract(list[RefundSettlement], list[RefundSettled]),
    "reject_messages": Contract(list[RejectedMessage], RejectedCount),
    "claim_waiting_orders": Contract(ClaimBounds, list[OrderMessage]),
    "create_drop": Contract(NewDrop, CreatedDrop),
    "set_drop_state": Contract(StateChange, StateChanged),
    "restock_item": Contract(Restock, Restocked),
    "close_drops": Contract(CloseBounds, ClosedCount),
    "claim_audit": Contract(AuditBounds, AuditClaim),
    "record_audit": Contract(AuditResult, AuditRecorded),
    "accept_violations": Contract(Acceptance, AcceptedCount),
    "erase_personal_data": Contract(EraseBounds, ErasedCount),
    "erase_customer": Contract(CustomerErasure, CustomerErased),
    "report_drop": Contract(DropRef, Reported),
    "claim_events": Contract(EventBounds, list[OrderEvent]),
    "mark_events_published": Contract(list[PublishedEvents], MarkedEvents),
    "retry_messages": Contract(list[MessageRef], list[RetryOutcome]),
    "finish_retries": Contract(list[TriedMessage], FinishedRetries),
    "drop_messages": Contract(list[MessageRef], DroppedCount),
}
