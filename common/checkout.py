"""Take orders: claim the idempotency key, make the order durable, hand it to the queue, answer.

Durable means a row; while the database is away, it means a message that Pub/Sub has taken. Orders that arrive together
go through both as one batch.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from common.batching import BadItem, Batcher
from common.database import Database, DatabaseUnavailable
from common.logs import log, traceparent
from common.models import CheckoutRequest
from common.order_contracts import AcceptItem, AcceptVerdict, OrderMessage, OrderRef
from common.order_ids import derive_order_id
from common.parsing import canonical_json, fingerprint
from common.publisher import Message, Publisher, PublishFailed
from common.refusals import drop_not_found, refusal, unavailable
from common.settings import ACCEPT_BATCH_MAX, FLUSHES_MAX, ONLY_QUEUED_MAX, QUEUE_LENGTH_MAX
from common.snapshots import DropSnapshot, DropSnapshots


class Receipt(NamedTuple):
    """An accepted order; `replayed` when an earlier request under its key made it."""

    order_id: str
    replayed: bool


class _Arrival(NamedTuple):
    """An order on its way in: for the database, and what it takes to promise it without one."""

    item: AcceptItem
    request: CheckoutRequest
    drop: DropSnapshot
    traceparent: str | None


class Checkout:
    """Accepts orders for one instance. Use it from one event loop only."""

    def __init__(
        self, database: Database, publisher: Publisher, secrets: dict[int, bytes], *, takes_payments: bool
    ) -> None:
        self._database, self._publisher, self._secrets = database, publisher, secrets
        self._takes_payments = takes_payments
        self._drops = DropSnapshots(database)
        self._only_queued: OrderedDict[str, str] = OrderedDict()  # id and fingerprint of orders that have no row yet
        self._arrivals: Batcher[_Arrival, AcceptVerdict | None] = Batcher(
            self._take,
            batch_max=ACCEPT_BATCH_MAX,
            queue_max=QUEUE_LENGTH_MAX,
            flushes_max=FLUSHES_MAX,
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
        verdict = await self._arrivals.submit(_Arrival(item, request, drop, traceparent()))
        if verdict is None:
            raise unavailable()
        if verdict["outcome"] not in ("created", "replayed"):
            raise refusal(request, verdict)
        return Receipt(verdict["order_id"], verdict["outcome"] == "replayed")

    def _item(self, request: CheckoutRequest, key: str, key_version: int) -> AcceptItem:
        if key_version not in self._secrets:
            log(logging.ERROR, "MERCHDROP_ORDER_ID_SECRETS lacks the version of a drop", version=key_version)
            raise unavailable()
        canonical = canonical_json(request.document())
        return {
            "order_id": derive_order_id(self._secrets[key_version], request.drop_id, key),
            "drop_id": request.drop_id,
            "idempotency_key": key,
            "fingerprint": fingerprint(canonical),
            "request": orjson.Fragment(canonical),
            "payable": self._takes_payments,
        }

    async def _take(self, batch: Sequence[_Arrival]) -> Sequence[AcceptVerdict | None]:
        """A verdict on each order; None if it can't be taken now."""
        try:
            verdicts: list[AcceptVerdict] = await self._database.call("accept_orders", [a.item for a in batch])
        except DatabaseUnavailable:
            return await self._take_into_queue(batch)
        created = [(a, v["amount_minor"]) for a, v in zip(batch, verdicts, strict=True) if v["outcome"] == "created"]
        if created:
            await self._hand_on(created)
        return [self._replayed(a, v) for a, v in zip(batch, verdicts, strict=True)] if self._only_queued else verdicts

    def _replayed(self, arrival: _Arrival, verdict: AcceptVerdict) -> AcceptVerdict:
        """The verdict, unless it refuses what this instance took into the queue, and nobody has inserted yet."""
        order_id = arrival.item["order_id"]
        if verdict["outcome"] in ("created", "replayed", "conflict") or order_id not in self._only_queued:
            return verdict
        same = self._only_queued[order_id] == arrival.item["fingerprint"]
        return {"outcome": "replayed" if same else "conflict", "order_id": order_id}

    async def _hand_on(self, orders: Sequence[tuple[_Arrival, int]]) -> None:
        """Publish orders whose rows are durable: whatever happens here, the answer is 202, and reconcile mends it."""
        try:
            await self._publisher.publish([_message(arrival, amount_minor) for arrival, amount_minor in orders])
        except PublishFailed:
            log(logging.WARNING, "accepted orders wait for reconcile to publish them", orders=len(orders))
            refs: list[OrderRef] = [{"order_id": arrival.item["order_id"]} for arrival, _ in orders]
            try:
                await self._database.call("mark_unpublished", refs)
            except (DatabaseUnavailable, BadItem):
                return  # reconcile finds them without the mark, only later

    async def _take_into_queue(self, batch: Sequence[_Arrival]) -> Sequence[AcceptVerdict | None]:
        """Without the database the message alone is the order; process_order inserts it."""
        promised = [(arrival, arrival.drop.amount_minor(arrival.request)) for arrival in batch]
        taken = [(a, amount) for a, amount in promised if amount is not None and (amount == 0 or _is_payable(a))]
        if not taken:
            return [None] * len(batch)
        try:
            await self._publisher.publish([_message(arrival, amount_minor) for arrival, amount_minor in taken])
        except PublishFailed:
            return [None] * len(batch)
        verdicts: dict[str, AcceptVerdict] = {
            a.item["order_id"]: {"outcome": "created", "order_id": a.item["order_id"], "amount_minor": amount}
            for a, amount in taken
        }
        self._only_queued |= {a.item["order_id"]: a.item["fingerprint"] for a, _ in taken}
        while len(self._only_queued) > ONLY_QUEUED_MAX:
            self._only_queued.popitem(last=False)
        return [verdicts.get(arrival.item["order_id"]) for arrival in batch]


def _is_payable(arrival: _Arrival) -> bool:
    return arrival.item["payable"] and arrival.request.payment_method is not None


def _message(arrival: _Arrival, amount_minor: int) -> Message:
    order: OrderMessage = {
        "schema_version": 1,
        "order_id": arrival.item["order_id"],
        "idempotency_key": arrival.item["idempotency_key"],
        "fingerprint": arrival.item["fingerprint"],
        "request": arrival.item["request"],
        "amount_minor": amount_minor,
    }
    return Message.of(order, {"traceparent": arrival.traceparent} if arrival.traceparent else {})
