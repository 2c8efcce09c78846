"""Messages of the topics orders and payments, as push requests bring them: read, checked, made into what is needed."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args
from uuid import UUID

from common.event_contracts import RejectedMessage
from common.logs import log, trace_context
from common.models import CheckoutRequest
from common.order_contracts import AdmitItem
from common.order_ids import derive_order_id
from common.parsing import canonical_json, fingerprint
from common.payment_contracts import ProviderEvent, ProviderState
from common.settings import AMOUNT_MINOR_MAX, MESSAGE_TEXT_MAX

NOT_TAKEN = "not_taken"  # why a message was rejected: the database refuses what it holds
WAKE_UP = {"schema_version": 1, "kind": "wake_up"}  # on the topic payments: look for what is due; it carries no work


class NoDelivery(Exception):
    """The request is no push request of Pub/Sub."""


class Malformed(Exception):
    """A message that can never be processed."""


@dataclass(frozen=True)
class Delivery:
    """A Pub/Sub message: its id, when it was published (RFC 3339, as Pub/Sub writes it), and what it carries."""

    message_id: str
    published_at: str
    data: bytes


@dataclass(frozen=True)
class QueuedOrder:
    """What an order's message says of it; `document` is all of it, and is read only if the order has no row."""

    order_id: str
    fingerprint: str
    document: dict[str, Any]


def parse_push(body: bytes) -> Delivery:
    """The message in a push request's body.

    Raises:
        NoDelivery: there is none.
    """
    try:
        message = json.loads(body)["message"]
        message_id = message["messageId"]
        data = base64.b64decode(message.get("data", ""), validate=True)
        published_at = str(message.get("publishTime", ""))
        trace_context.set(str((message.get("attributes") or {}).get("traceparent", "")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        raise NoDelivery from error
    if not isinstance(message_id, str) or not message_id:
        raise NoDelivery
    return Delivery(message_id, published_at, data)


def parse_order(data: bytes) -> QueuedOrder:
    """The order in a message.

    Raises:
        Malformed: it names none.
    """
    try:
        document = json.loads(data)
        return QueuedOrder(str(UUID(document["order_id"])), str(document["fingerprint"]), document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Malformed from error


def parse_payment(data: bytes) -> ProviderEvent | None:
    """A provider's event, or None: a wake-up.

    Raises:
        Malformed: it is neither.
    """
    try:
        document = json.loads(data)
        if document["kind"] == WAKE_UP["kind"]:
            return None
        captured_minor = int(document["captured_minor"])
        if document["kind"] != "provider_event" or document["state"] not in get_args(ProviderState):
            raise Malformed
        if not 0 <= captured_minor <= AMOUNT_MINOR_MAX:
            raise Malformed
        return {
            "schema_version": int(document["schema_version"]),
            "kind": "provider_event",
            "event_id": str(document["event_id"]),
            "order_id": str(UUID(document["order_id"])),
            "provider_ref": str(document["provider_ref"]),
            "state": document["state"],
            "captured_minor": captured_minor,
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Malformed from error


def rejection(delivery: Delivery, topic: str, reason: str) -> RejectedMessage:
    """A message of a topic as it is recorded: `reason` says why it can't be processed."""
    # PostgreSQL's text holds no NUL
    body = delivery.data.decode("utf-8", "replace").replace("\x00", "\ufffd")[:MESSAGE_TEXT_MAX]
    log(logging.ERROR, "a message was rejected", message_id=delivery.message_id, reason=reason)
    return {"id": delivery.message_id, "topic": topic, "reason": reason, "body": body}


def admission(order: QueuedOrder, published_at: str, secrets: Iterable[bytes]) -> AdmitItem:
    """The order as `admit_orders` takes it, once the message has proved to be one of checkout's.

    Raises:
        Malformed: a field is missing or invalid, or the id is not the one that drop and key derive to.
    """
    try:
        request = CheckoutRequest.model_validate(order.document["request"])
        key, amount_minor = order.document["idempotency_key"], order.document["amount_minor"]
        is_timed = datetime.fromisoformat(published_at).tzinfo is not None
    except (KeyError, ValueError) as error:  # pydantic's ValidationError is one
        raise Malformed from error
    document = request.document()
    if not (is_timed and isinstance(key, str) and type(amount_minor) is int and amount_minor >= 0):
        raise Malformed
    if order.order_id not in {derive_order_id(secret, request.drop_id, key) for secret in secrets}:
        raise Malformed
    if fingerprint(canonical_json(document)) != order.fingerprint:
        raise Malformed
    return {
        "order_id": order.order_id,
        "drop_id": request.drop_id,
        "idempotency_key": key,
        "fingerprint": order.fingerprint,
        "request": document,
        "amount_minor": amount_minor,
        "published_at": published_at,
    }
