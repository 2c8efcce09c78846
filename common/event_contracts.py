"""What the SQL functions for events and for rejected messages take and return."""

from __future__ import annotations

from typing import Literal, TypedDict

from common.models import OrderStatus


class RejectedMessage(TypedDict):
    """reject_messages takes a list of these."""

    id: str
    topic: str
    reason: str
    body: str


class RejectedCount(TypedDict):
    """reject_messages returns how many it had not recorded before."""

    recorded: int


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
