"""Decide orders as their messages arrive: read the push request, reserve in batches, record what can't be read."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from common.batching import BadItem, Batcher, Overloaded
from common.contracts import OrderOutcome, OrderRef, RejectedMessage
from common.database import Database, DatabaseUnavailable
from common.logs import configure_logging, log, trace_context
from common.settings import (
    FLUSHES_MAX,
    MESSAGE_TEXT_MAX,
    ORDERS_TOPIC,
    QUEUE_LENGTH_MAX,
    RESERVE_BATCH_MAX,
    settings,
)


@dataclass(frozen=True)
class Delivery:
    """A Pub/Sub message as a push request brings it."""

    message_id: str
    data: bytes


class NoDelivery(Exception):
    """The request is no push request of Pub/Sub."""


def parse_push(body: bytes) -> Delivery:
    """The message in a push request's body.

    Raises:
        NoDelivery: there is none.
    """
    try:
        message = json.loads(body)["message"]
        message_id = message["messageId"]
        data = base64.b64decode(message.get("data", ""), validate=True)
        trace_context.set(str((message.get("attributes") or {}).get("traceparent", "")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        raise NoDelivery from error
    if not isinstance(message_id, str) or not message_id:
        raise NoDelivery
    return Delivery(message_id, data)


class Reservations:
    """Decides orders for one instance. Use it from one event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._orders: Batcher[OrderRef, OrderOutcome] = Batcher(
            self._reserve_batch,
            batch_max=RESERVE_BATCH_MAX,
            queue_max=QUEUE_LENGTH_MAX,
            flushes_max=FLUSHES_MAX,
        )
        self._rejects: Batcher[RejectedMessage, None] = Batcher(
            self._reject_batch, batch_max=RESERVE_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )

    async def decide(self, delivery: Delivery) -> bool:
        """Decide the order in a message. True: done, whatever the decision; false: deliver it again later."""
        try:
            order_id = _order_id(delivery.data)
            outcome = (await self._orders.submit({"order_id": order_id}))["outcome"] if order_id else "malformed"
            if outcome in ("malformed", "unknown_order"):
                await self._reject(delivery, outcome)
        except (DatabaseUnavailable, Overloaded, BadItem) as error:
            log(
                logging.WARNING,
                "a message could not be processed now",
                message_id=delivery.message_id,
                cause=repr(error),
            )
            return False
        return True

    async def _reject(self, delivery: Delivery, reason: str) -> None:
        # PostgreSQL's text holds no NUL
        body = delivery.data.decode("utf-8", "replace").replace("\x00", "\ufffd")[:MESSAGE_TEXT_MAX]
        log(logging.ERROR, "a message was rejected", message_id=delivery.message_id, reason=reason)
        await self._rejects.submit({"id": delivery.message_id, "topic": ORDERS_TOPIC, "reason": reason, "body": body})

    async def _reserve_batch(self, batch: Sequence[OrderRef]) -> list[OrderOutcome]:
        outcomes: list[OrderOutcome] = await self._database.call("reserve_orders", batch)
        by_id = {outcome["order_id"]: outcome for outcome in outcomes}
        return [by_id[item["order_id"]] for item in batch]

    async def _reject_batch(self, batch: Sequence[RejectedMessage]) -> list[None]:
        await self._database.call("reject_messages", batch)
        return [None] * len(batch)


@lru_cache(maxsize=1)
def reservations() -> Reservations:
    """The instance's one Reservations, made by its first request, after the worker process has started."""
    configure_logging()
    return Reservations(Database(settings().database_url))


def _order_id(data: bytes) -> str | None:
    """The order's id in canonical form, or None if the message holds none."""
    try:
        return str(UUID(json.loads(data)["order_id"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
