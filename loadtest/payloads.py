"""The requests that the generator sends, written byte for byte: orders of buyers, and Pub/Sub's pushes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from common.order_contracts import OrderMessage
from local.machine import HOST
from local.pubsub_store import Message, MessagePb
from local.recipes import PROJECT

SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/process-order"


def order_document(drop_id: str, sku: str, number: int) -> dict[str, Any]:
    """What a buyer who is there for the first time orders: one unit."""
    customer = {"id": f"buyer-{number:08d}", "email": f"buyer-{number:08d}@example.com"}
    lines = [{"sku": sku, "quantity": 1}]
    return {"drop_id": drop_id, "customer": customer, "items": lines, "payment_method": "pm_card_visa"}


def checkouts(drop_id: str, skus: list[str], count: int, first: int = 0) -> Iterator[bytes]:
    """Orders under keys of their own, taking the SKUs in turn."""
    for number in range(first, first + count):
        document = order_document(drop_id, skus[number % len(skus)], number)
        yield post("/v1/checkout", orjson.dumps(document), {"Idempotency-Key": f"key-{number:08d}"})


def pushes(messages: Iterable[OrderMessage]) -> Iterator[bytes]:
    """Push requests as Pub/Sub makes them."""
    published = datetime.now(UTC).isoformat()
    for number, message in enumerate(messages):
        delivery = Message.of(str(number + 1), published, MessagePb(data=orjson.dumps(message)))
        yield post("/", delivery.to_push(SUBSCRIPTION, 1), {})


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A POST of JSON over a connection that stays open."""
    fields = {"Host": HOST, "Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
