"""Show and cancel orders, and show drops: batched reads, and calls that wait for a change."""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from common.batching import Batcher
from common.database import Database
from common.models import DROP_ID_PATTERN
from common.order_contracts import OrderOutcome, ReleaseItem
from common.order_ids import was_issued
from common.problems import Problem
from common.publisher import Publisher
from common.refusals import drop_not_found
from common.settings import (
    FINAL_ORDERS_MAX,
    FLUSHES_MAX,
    QUEUE_LENGTH_MAX,
    READ_BATCH_MAX,
    WAIT_POLL_SECONDS,
    WAITERS_MAX,
)
from common.wake_up import wake_charge_order

_NO_EXIT = frozenset({"refunded", "sold_out", "rejected"})
# A buyer waits for these: whatever can still follow (a refund) is not worth keeping the call open.
_FINAL_FOR_BUYER = _NO_EXIT | {"confirmed", "declined", "expired", "cancelled"}

_DROP_ID = re.compile(DROP_ID_PATTERN)
_ORDER_COLUMNS = "order_id, drop_id, status, reason, items, amount_minor, currency, accepted_at, updated_at, payment"
_ITEM_FIELDS = ("sku", "title", "unit_price_minor", "available")


class Orders:
    """Answers questions about orders and drops for one instance. Use it from one event loop only."""

    def __init__(self, database: Database, payments: Publisher, secrets: dict[int, bytes]) -> None:
        self._database, self._payments, self._secrets = database, payments, secrets
        self._final: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._waiters = 0
        self._reads: Batcher[str, dict[str, Any] | None] = Batcher(
            self._read_orders, batch_max=READ_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=FLUSHES_MAX
        )
        self._drops: Batcher[str, dict[str, Any] | None] = Batcher(
            self._read_drops, batch_max=READ_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )
        self._releases: Batcher[ReleaseItem, OrderOutcome] = Batcher(
            self._release_batch, batch_max=READ_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )

    async def show(self, order_id: str, wait_seconds: float = 0) -> dict[str, Any]:
        """The order, at once or when its status changes or is final for the buyer, `wait_seconds` at most.

        Raises:
            Problem: the id was never issued.
        """
        order = await self._order(order_id)
        if wait_seconds <= 0 or order["status"] in _FINAL_FOR_BUYER or self._waiters >= WAITERS_MAX:
            return order
        deadline = asyncio.get_running_loop().time() + wait_seconds
        self._waiters += 1
        try:
            first = order["status"]
            while order["status"] == first and (left := deadline - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(min(WAIT_POLL_SECONDS, left))
                order = await self._order(order_id)
        finally:
            self._waiters -= 1
        return order

    async def cancel(self, order_id: str) -> dict[str, Any]:
        """Cancel an order that is not paid for, and show it; an order that ended otherwise is shown as it is.

        An order whose payment is under way is shown as far as it has got: the payment is called off first.

        Raises:
            Problem: the id was never issued, or the order is confirmed.
        """
        order = await self._order(order_id)
        if order["drop_id"] is None or order["status"] in _NO_EXIT:
            return order
        outcome = await self._releases.submit({"order_id": order["order_id"], "reason": "buyer_cancelled"})
        if outcome["outcome"] == "too_late":
            raise Problem("too-late", "The order is confirmed; ask the shop for a refund.")
        if outcome["outcome"] == "cancelling":
            await wake_charge_order(self._payments)  # if that fails, reconcile does it
        return await self._order(order_id)

    async def show_drop(self, drop_id: str) -> dict[str, Any]:
        """The drop, with what is available now.

        Raises:
            Problem: there is no such drop.
        """
        # PostgreSQL's text holds no NUL, so nonsense must not even be asked for
        if not _DROP_ID.fullmatch(drop_id) or (drop := await self._drops.submit(drop_id)) is None:
            raise drop_not_found(drop_id)
        return drop

    async def _order(self, order_id: str) -> dict[str, Any]:
        try:
            uuid = UUID(order_id)
        except ValueError:
            uuid = None
        if uuid is None or str(uuid) != order_id.lower() or not was_issued(uuid, self._secrets.values()):
            raise Problem("order-not-found", "No such order id was ever given out; check it.")
        if (final := self._final.get(str(uuid))) is not None:
            return final
        return await self._reads.submit(str(uuid)) or _accepted_elsewhere(str(uuid))

    async def _read_orders(self, order_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        rows = await self._database.read(
            f"SELECT {_ORDER_COLUMNS} FROM shown_orders WHERE order_id = ANY ($1::uuid[])",
            list(set(order_ids)),
        )
        found = {str(row["order_id"]): _as_document(row) for row in rows}
        for order_id, order in found.items():
            if order["status"] in _NO_EXIT:
                self._final[order_id] = order
        while len(self._final) > FINAL_ORDERS_MAX:
            self._final.popitem(last=False)
        return [found.get(order_id) for order_id in order_ids]

    async def _read_drops(self, drop_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        rows = await self._database.read(
            "SELECT drop_id, name, state, currency, starts_at, ends_at, now() AS server_time, per_customer_limit, items"
            " FROM shown_drops WHERE drop_id = ANY ($1)",
            list(set(drop_ids)),
        )
        found = {row["drop_id"]: _as_document(row) for row in rows}
        for drop in found.values():
            drop["items"] = [{name: item[name] for name in _ITEM_FIELDS} for item in drop["items"]]
        return [found.get(drop_id) for drop_id in drop_ids]

    async def _release_batch(self, batch: Sequence[ReleaseItem]) -> list[OrderOutcome]:
        outcomes: list[OrderOutcome] = await self._database.call("release_orders", batch)
        by_id = {outcome["order_id"]: outcome for outcome in outcomes}
        return [by_id[item["order_id"]] for item in batch]


def _as_document(row: asyncpg.Record) -> dict[str, Any]:
    document = {}
    for name, value in row.items():
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat()
        elif isinstance(value, UUID):
            value = str(value)
        elif name in ("items", "payment") and value is not None:
            value = json.loads(value)
        document[name] = value
    return document


def _accepted_elsewhere(order_id: str) -> dict[str, Any]:
    """An id that was issued but has no row yet: the order is in the queue."""
    unknown = dict.fromkeys(("drop_id", "reason", "amount_minor", "currency", "accepted_at", "updated_at", "payment"))
    return {**unknown, "order_id": order_id, "status": "accepted", "items": []}
