"""Take orders: claim the idempotency key, make the order durable, hand it to the queue, answer.

Durable means a row; while the database is away, it means a message that Pub/Sub has taken.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from common.batching import BadItem, Batcher, Overloaded
from common.contracts import AcceptItem, AcceptVerdict, OrderMessage, OrderRef
from common.database import Database, DatabaseUnavailable
from common.logs import log, traceparent
from common.models import CheckoutRequest
from common.order_ids import derive_order_id
from common.parsing import fingerprint
from common.publisher import Message, Publisher, PublishFailed
from common.refusals import drop_not_found, refusal, unavailable
from common.settings import ACCEPT_BATCH_MAX, FLUSHES_MAX, QUEUE_LENGTH_MAX
from common.snapshots import DropSnapshot, DropSnapshots


@dataclass(frozen=True)
class Receipt:
    """An accepted order; `replayed` when an earlier request under its key made it."""

    order_id: str
    replayed: bool


class Checkout:
    """Accepts orders for one instance. Use it from one event loop only."""

    def __init__(self, database: Database, publisher: Publisher, secrets: dict[int, bytes]) -> None:
        self._database, self._publisher, self._secrets = database, publisher, secrets
        self._drops = DropSnapshots(database)
        self._accepts: Batcher[AcceptItem, AcceptVerdict] = Batcher(
            self._accept_batch,
            batch_max=ACCEPT_BATCH_MAX,
            queue_max=QUEUE_LENGTH_MAX,
            flushes_max=FLUSHES_MAX,
        )
        self._unpublished: Batcher[OrderRef, None] = Batcher(
            self._mark_batch, batch_max=ACCEPT_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )

    async def accept(self, request: CheckoutRequest, key: str) -> Receipt:
        """Accept an order, or find the one that the key already made.

        Raises:
            Problem: the order is refused, or can't be taken now; nothing was stored.
            DatabaseUnavailable, Overloaded, BadItem: nothing was stored either; the same request may be sent again.
        """
        if (drop := await self._drops.get(request.drop_id)) is None:
            raise drop_not_found(request.drop_id)
        item = self._item(request, key, drop.key_version)
        try:
            verdict = await self._accepts.submit(item)
        except DatabaseUnavailable:
            return await self._accept_into_queue(item, request, drop)
        if verdict["outcome"] not in ("created", "replayed"):
            raise refusal(request, verdict)
        if verdict["outcome"] == "created":
            await self._hand_on(item, verdict["amount_minor"])
        return Receipt(verdict["order_id"], verdict["outcome"] == "replayed")

    def _item(self, request: CheckoutRequest, key: str, key_version: int) -> AcceptItem:
        if key_version not in self._secrets:
            log(logging.ERROR, "MERCHDROP_ORDER_ID_SECRETS lacks the version of a drop", version=key_version)
            raise unavailable()
        document = request.document()
        return {
            "order_id": str(derive_order_id(self._secrets[key_version], request.drop_id, key)),
            "drop_id": request.drop_id,
            "idempotency_key": key,
            "fingerprint": fingerprint(document),
            "request": document,
            "payable": False,
        }

    async def _hand_on(self, item: AcceptItem, amount_minor: int) -> None:
        """Publish an order whose row is durable: whatever happens here, the answer is 202, and reconcile mends it."""
        try:
            await self._publisher.publish(_message(item, amount_minor))
        except (PublishFailed, Overloaded):
            try:
                await self._unpublished.submit({"order_id": item["order_id"]})
            except (DatabaseUnavailable, Overloaded, BadItem):
                return  # reconcile finds it without the mark, only later

    async def _accept_into_queue(self, item: AcceptItem, request: CheckoutRequest, drop: DropSnapshot) -> Receipt:
        """Without the database the message alone is the order; process_order inserts it."""
        amount_minor = drop.amount_minor(request)
        if amount_minor is None or (amount_minor > 0 and not item["payable"]):
            raise unavailable()
        try:
            await self._publisher.publish(_message(item, amount_minor))
        except PublishFailed:
            raise unavailable() from None
        return Receipt(item["order_id"], replayed=False)

    async def _accept_batch(self, batch: Sequence[AcceptItem]) -> list[AcceptVerdict]:
        verdicts: list[AcceptVerdict] = await self._database.call("accept_orders", batch)
        return verdicts

    async def _mark_batch(self, batch: Sequence[OrderRef]) -> list[None]:
        log(logging.WARNING, "accepted orders wait for reconcile to publish them", orders=len(batch))
        await self._database.call("mark_unpublished", batch)
        return [None] * len(batch)


def _message(item: AcceptItem, amount_minor: int) -> Message:
    order: OrderMessage = {
        "schema_version": 1,
        "order_id": item["order_id"],
        "idempotency_key": item["idempotency_key"],
        "fingerprint": item["fingerprint"],
        "request": item["request"],
        "amount_minor": amount_minor,
    }
    trace = traceparent()
    return Message.of(order, {"traceparent": trace} if trace else {})
