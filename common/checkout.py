"""Take orders: claim the idempotency key, make the order durable, hand it to the queue, answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from common.batching import BadItem, Batcher, Overloaded
from common.contracts import AcceptItem, AcceptVerdict, OrderMessage
from common.database import Database, DatabaseUnavailable
from common.logs import log, trace_context
from common.models import CheckoutRequest
from common.order_ids import derive_order_id
from common.parsing import fingerprint
from common.problems import Problem, retry_after
from common.publisher import Message, Publisher, PublishFailed
from common.settings import (
    ACCEPT_BATCH_MAX,
    FLUSHES_MAX,
    KEY_VERSIONS_MAX,
    NOT_OPEN_RETRY_SECONDS_MAX,
    QUEUE_LENGTH_MAX,
    READ_BATCH_MAX,
    RETRY_AFTER_SECONDS,
)


@dataclass(frozen=True)
class Receipt:
    """An accepted order; `replayed` when an earlier request under its key made it."""

    order_id: str
    replayed: bool


class Checkout:
    """Accepts orders for one instance. Use it from one event loop only."""

    def __init__(self, database: Database, publisher: Publisher, secrets: dict[int, bytes]) -> None:
        self._database, self._publisher, self._secrets = database, publisher, secrets
        self._key_versions: dict[str, int] = {}
        self._accepts: Batcher[AcceptItem, AcceptVerdict] = Batcher(
            self._accept_batch,
            batch_max=ACCEPT_BATCH_MAX,
            queue_max=QUEUE_LENGTH_MAX,
            flushes_max=FLUSHES_MAX,
        )
        self._versions: Batcher[str, int | None] = Batcher(
            self._read_versions, batch_max=READ_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )

    async def accept(self, request: CheckoutRequest, key: str) -> Receipt:
        """Accept an order, or find the one that the key already made.

        Raises:
            Problem: the order is refused, or can't be taken now; nothing was stored.
        """
        try:
            item = await self._item(request, key)
            verdict = await self._accepts.submit(item)
        except Overloaded:
            raise overloaded() from None
        except (DatabaseUnavailable, BadItem) as error:
            log(logging.ERROR, "an order could not be taken", cause=error)
            raise unavailable() from error
        if verdict["outcome"] not in ("created", "replayed"):
            raise _refusal(request, verdict)
        if verdict["outcome"] == "created":
            await self._publish(item, verdict["amount_minor"])
        return Receipt(verdict["order_id"], verdict["outcome"] == "replayed")

    async def _item(self, request: CheckoutRequest, key: str) -> AcceptItem:
        version = self._key_versions.get(request.drop_id)
        if version is None:
            version = await self._versions.submit(request.drop_id)
            if version is None:
                raise drop_not_found(request.drop_id)
            if len(self._key_versions) >= KEY_VERSIONS_MAX:
                self._key_versions.clear()
            self._key_versions[request.drop_id] = version
        if version not in self._secrets:
            log(logging.ERROR, "MERCHDROP_ORDER_ID_SECRETS lacks the version of a drop", version=version)
            raise unavailable()
        document = request.document()
        return {
            "order_id": str(derive_order_id(self._secrets[version], request.drop_id, key)),
            "drop_id": request.drop_id,
            "idempotency_key": key,
            "fingerprint": fingerprint(document),
            "request": document,
            "payable": False,
        }

    async def _publish(self, item: AcceptItem, amount_minor: int) -> None:
        message: OrderMessage = {
            "schema_version": 1,
            "order_id": item["order_id"],
            "idempotency_key": item["idempotency_key"],
            "fingerprint": item["fingerprint"],
            "request": item["request"],
            "amount_minor": amount_minor,
        }
        attributes = {"traceparent": trace_context.get()} if trace_context.get() else {}
        try:
            await self._publisher.publish(Message.of(message, attributes))
        except (PublishFailed, Overloaded) as error:
            # The row is durable: the answer is still 202, and reconcile publishes what stays accepted.
            log(
                logging.WARNING,
                "an accepted order waits for reconcile",
                order_id=item["order_id"],
                cause=error,
            )

    async def _accept_batch(self, batch: Sequence[AcceptItem]) -> list[AcceptVerdict]:
        verdicts: list[AcceptVerdict] = await self._database.call("accept_orders", batch)
        return verdicts

    async def _read_versions(self, drop_ids: Sequence[str]) -> list[int | None]:
        rows = await self._database.query(
            "SELECT drop_id, order_id_key_version FROM shown_drops WHERE drop_id = ANY ($1)",
            list(set(drop_ids)),
        )
        versions = {row["drop_id"]: row["order_id_key_version"] for row in rows}
        return [versions.get(drop_id) for drop_id in drop_ids]


def overloaded() -> Problem:
    """More requests wait than an instance may hold."""
    return Problem(
        "overloaded",
        "Send the same request with the same key again after Retry-After seconds.",
        headers=retry_after(RETRY_AFTER_SECONDS),
    )


def unavailable() -> Problem:
    """A part that is needed for the answer is down."""
    return Problem(
        "unavailable",
        "Send the same request again after Retry-After seconds; the same key never makes a second order.",
        headers=retry_after(RETRY_AFTER_SECONDS),
    )


def drop_not_found(drop_id: str) -> Problem:
    """No drop has this id."""
    return Problem("drop-not-found", f"There is no drop {drop_id!a}; check drop_id.")


def _refusal(request: CheckoutRequest, verdict: AcceptVerdict) -> Problem:
    match verdict["outcome"]:
        case "conflict":
            return Problem("idempotency-key-reused", "Use a new key for a new order; a retry must be the same request.")
        case "not_open":
            return _not_open(verdict["starts_at"])
        case "closed":
            return Problem("drop-closed", "The drop is over; new orders are not taken.")
        case "paused":
            return Problem(
                "drop-paused",
                "The drop is paused; try again later.",
                headers=retry_after(RETRY_AFTER_SECONDS),
            )
        case "unknown_sku":
            fields = {line.sku: f"items.{n}.sku" for n, line in enumerate(request.items)}
            errors = [{"field": fields[sku], "message": "not in this drop"} for sku in verdict["unknown_skus"]]
            return Problem("unknown-sku", "Take the SKUs that GET /v1/drops lists.", errors=errors)
        case "payment_method_required":
            errors = [{"field": "payment_method", "message": "required when the amount is not 0"}]
            return Problem("invalid-request", "Correct the fields named in errors.", errors=errors)
        case "price_changed":
            return Problem(
                "price-changed",
                "Show the buyer the new amount and ask again.",
                amount_minor=verdict["amount_minor"],
            )
        case "sold_out":
            skus = verdict["sold_out_skus"]
            return Problem("sold-out", "Units may come back; the same request may be sent again later.", skus=skus)
        case "payments_unavailable":
            return Problem(
                "payments-unavailable",
                "Orders above 0 can't be taken: no payment provider is configured.",
                headers=retry_after(RETRY_AFTER_SECONDS),
            )
    return drop_not_found(request.drop_id)


def _not_open(starts_at: str) -> Problem:
    seconds = (datetime.fromisoformat(starts_at) - datetime.now(UTC)).total_seconds()
    return Problem(
        "drop-not-open",
        "Come back when the drop opens, at starts_at.",
        headers=retry_after(min(int(seconds) + 1, NOT_OPEN_RETRY_SECONDS_MAX)),
        starts_at=starts_at,
    )
