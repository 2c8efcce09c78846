"""Decide orders as their messages arrive: reserve in batches, insert what only the queue knows, record the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache

from common.batching import BadItem, Batcher, Overloaded
from common.database import Database, DatabaseUnavailable
from common.event_contracts import RejectedMessage
from common.logs import log
from common.messages import NOT_TAKEN, Delivery, Malformed, QueuedOrder, admission, parse_order, rejection
from common.order_contracts import AdmitItem, AdmitOutcome, OrderRef, ReserveOutcome
from common.publisher import Publisher
from common.settings import (
    ADMIT_BATCH_MAX,
    FLUSHES_MAX,
    ORDERS_TOPIC,
    PAYMENTS_TOPIC,
    QUEUE_LENGTH_MAX,
    RESERVE_BATCH_MAX,
    settings,
)
from common.wake_up import wake_charge_order
from common.worker import start_worker


class Reservations:
    """Decides orders for one instance. Use it from one event loop only."""

    def __init__(self, database: Database, payments: Publisher, secrets: dict[int, bytes]) -> None:
        self._database, self._payments, self._secrets = database, payments, secrets
        self._orders: Batcher[OrderRef, ReserveOutcome] = Batcher(
            self._reserve_batch,
            batch_max=RESERVE_BATCH_MAX,
            queue_max=QUEUE_LENGTH_MAX,
            flushes_max=FLUSHES_MAX,
        )
        self._admissions: Batcher[AdmitItem, AdmitOutcome] = Batcher(
            self._admit_batch, batch_max=ADMIT_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )
        self._rejects: Batcher[RejectedMessage, None] = Batcher(
            self._reject_batch, batch_max=RESERVE_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )

    async def decide(self, delivery: Delivery, *, is_dead_letter: bool = False) -> bool:
        """Decide the order in a message. True: done, whatever the decision; false: deliver it again later.

        What the database can't take is recorded if it is a dead letter: it has been delivered often enough.
        """
        try:
            try:
                reason = await self._decide(delivery)
            except BadItem as error:
                log(logging.ERROR, "the database can't take a message", message_id=delivery.message_id, cause=error)
                if not is_dead_letter:
                    return False
                reason = NOT_TAKEN
            if reason is not None:
                await self._reject(delivery, reason)
        except (DatabaseUnavailable, Overloaded, BadItem):
            return False
        return True

    async def _decide(self, delivery: Delivery) -> str | None:
        """None when the order is decided (or waits for its drop to go on), or why the message is no order."""
        try:
            order = parse_order(delivery.data)
            stored = await self._orders.submit({"order_id": order.order_id})
            if stored["outcome"] == "unknown_order":
                if (refused := await self._admit(order, delivery)) is not None:
                    return refused
                stored = await self._orders.submit({"order_id": order.order_id})
        except Malformed:
            return "malformed"
        return None if stored["fingerprint"] == order.fingerprint else "differs_from_row"

    async def _admit(self, order: QueuedOrder, delivery: Delivery) -> str | None:
        """Insert an order that was accepted while the database was away; what stands in its way, if anything does."""
        item = admission(order, delivery.published_at, self._secrets.values())
        outcome = (await self._admissions.submit(item))["outcome"]
        return None if outcome == "stored" else outcome

    async def _reject(self, delivery: Delivery, reason: str) -> None:
        await self._rejects.submit(rejection(delivery, ORDERS_TOPIC, reason))

    async def _reserve_batch(self, batch: Sequence[OrderRef]) -> list[ReserveOutcome]:
        outcomes: list[ReserveOutcome] = await self._database.call("reserve_orders", batch)
        by_id = {outcome["order_id"]: outcome for outcome in outcomes}
        if any(outcome["outcome"] == "reserved" for outcome in outcomes):
            await wake_charge_order(self._payments)  # if that fails, reconcile does it
        return [by_id[item["order_id"]] for item in batch]

    async def _admit_batch(self, batch: Sequence[AdmitItem]) -> list[AdmitOutcome]:
        outcomes: list[AdmitOutcome] = await self._database.call("admit_orders", batch)
        return outcomes

    async def _reject_batch(self, batch: Sequence[RejectedMessage]) -> list[None]:
        await self._database.call("reject_messages", batch)
        return [None] * len(batch)


@lru_cache(maxsize=1)
def reservations() -> Reservations:
    """The instance's one Reservations, made by its first request, after the worker process has started."""
    start_worker()
    values = settings()
    payments = Publisher(values.project, PAYMENTS_TOPIC, values.pubsub_emulator_host)
    return Reservations(Database(values.database), payments, values.order_id_secrets)
