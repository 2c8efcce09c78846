"""What the SQL functions on whole drops take and return: closing, auditing, forgetting, reporting."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

DropState = Literal["draft", "live", "paused", "ended"]


class ShownItem(TypedDict):
    """A SKU with its counters: available is stock less reserved and sold."""

    sku: str
    title: str
    unit_price_minor: int
    available: int
    stock: int
    reserved: int
    sold: int


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


class CloseBounds(TypedDict):
    """close_drops takes this."""

    limit: int


class ClosedCount(TypedDict):
    """close_drops returns how many drops it ended."""

    closed: int


class AuditBounds(TypedDict):
    """claim_audit takes this."""

    pause_seconds: float
    seal_after_seconds: float


class ClaimedDrop(TypedDict):
    """A drop to be audited; `is_over`: nothing can move in it any more."""

    drop_id: str
    audited_at: str
    is_over: bool


class AuditClaim(TypedDict):
    """claim_audit returns this; null: all were audited lately."""

    drop: ClaimedDrop | None


class AuditResult(ClaimedDrop):
    """record_audit takes this: what was claimed, and what the audit says."""

    is_sound: bool


class AuditRecorded(TypedDict):
    """record_audit returns this."""

    outcome: Literal["paused", "sealed", "unchanged", "overtaken"]


class Acceptance(TypedDict):
    """accept_violations takes this."""

    drop_id: str
    reason: str
    os_user: str


class AcceptedCount(TypedDict):
    """accept_violations returns how many it had not recorded before."""

    accepted: int


class EraseBounds(TypedDict):
    """erase_personal_data takes this."""

    limit: int
    retention_days: int


class ErasedCount(TypedDict):
    """erase_personal_data returns how many orders and messages it erased, and how many drops are done with that."""

    orders: int
    messages: int
    drops: int


class CustomerErasure(TypedDict):
    """erase_customer takes this; `shipped`: nobody needs the addresses of confirmed orders any more."""

    customer_id: str
    shipped: NotRequired[bool]


class CustomerErased(TypedDict):
    """erase_customer returns how many orders it erased, reduced to the customer's id, or left; and messages."""

    erased: int
    reduced: int
    open: int
    unshipped: int
    messages: int


class DropRef(TypedDict):
    """report_drop takes this."""

    drop_id: str


class Percentiles(TypedDict):
    """Of times, in seconds."""

    p50: float
    p90: float
    p99: float


class OrderCount(TypedDict):
    """How many orders ended (or stand) in a state, for one reason."""

    status: str
    reason: str | None
    orders: int


class Money(TypedDict):
    """Sums over a drop's payments, in minor units of its currency."""

    payments: int
    captured_minor: int
    refunded_minor: int


class DropAudit(TypedDict):
    """Broken promises, those that somebody accepted apart; and when the books were closed."""

    violations: int
    accepted: int
    sealed_at: str | None


class DropReport(TypedDict):
    """What became of a drop; what is measured how is told in report_drop."""

    drop_id: str
    name: str
    state: DropState
    currency: str
    starts_at: str
    ends_at: str
    items: list[ShownItem]
    orders: list[OrderCount]
    money: Money
    sold_out_at: str | None
    sell_out_seconds: float | None
    decision_seconds: Percentiles | None
    payment_seconds: Percentiles | None
    audit: DropAudit


class Reported(TypedDict):
    """report_drop returns this; null: there is no such drop."""

    report: DropReport | None
