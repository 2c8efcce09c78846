"""What the SQL functions that take, decide and release orders take and return."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

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
