"""What a sale does in the books: put something on sale, and look afterwards at what was sold."""

from __future__ import annotations

import asyncio
import time

import click

from cli.database import Books
from cli.verdict import Booked
from common.contracts import NewDrop, NewItem

SETTLE_SECONDS = 300  # orders whose messages were lost wait for reconcile, which runs once a minute

_ORDERS = (
    "SELECT order_id, idempotency_key, status, items, extract(epoch FROM accepted_at)::float8 AS accepted_epoch,"
    " extract(epoch FROM updated_at)::float8 AS decided_epoch,"
    " extract(epoch FROM updated_at - accepted_at)::float8 AS decision_seconds"
    " FROM shown_orders WHERE drop_id = $1 AND starts_with(idempotency_key, $2)"
)
_DROP = "SELECT state, starts_at <= now() AND now() < ends_at AS open, items FROM shown_drops WHERE drop_id = $1"


async def make_drop(books: Books, drop_id: str, units: int, skus: int) -> str:
    """Put a free drop on sale, its units shared out among its SKUs."""
    stock = {f"SKU-{n + 1}": units // skus + (n < units % skus) for n in range(skus)}
    items: list[NewItem] = [{"sku": sku, "stock": stock[sku], "unit_price_minor": 0} for sku in stock]
    wanted: NewDrop = {"id": drop_id, "currency": "USD", "items": items}
    await books.call("create_drop", wanted)
    return drop_id


async def skus_for_nothing(books: Books, drop_id: str) -> tuple[str, ...]:
    """What the drop sells. The crowd has no money, and no business where nothing can be had."""
    if not (found := await books.rows(_DROP, drop_id)):
        raise click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")
    if found[0]["state"] != "live" or not found[0]["open"]:
        raise click.ClickException(f"drop {drop_id!r} is not open; see `merchdrop drop show {drop_id}`")
    if any(item["unit_price_minor"] for item in found[0]["items"]):
        raise click.ClickException(f"drop {drop_id!r} is not free, and simulated buyers can't pay; choose another")
    return tuple(item["sku"] for item in found[0]["items"])


async def settled_books(books: Books, drop_id: str, run: str) -> Booked:
    """The books, once no order of the crowd waits any more or SETTLE_SECONDS are over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while await _waiting(books, drop_id, run) and time.monotonic() < deadline:  # noqa: ASYNC110 (nothing could signal)
        await asyncio.sleep(1)
    items = (await books.rows(_DROP, drop_id))[0]["items"]
    violations = await books.rows("SELECT 1 FROM audit_violations WHERE drop_id = $1", drop_id)
    return Booked(
        units=sum(item["stock"] for item in items),
        sold=sum(item["sold"] for item in items),
        available={item["sku"]: item["available"] for item in items},
        orders=await books.rows(_ORDERS, drop_id, f"{run}-"),
        violations=len(violations),
    )


async def _waiting(books: Books, drop_id: str, run: str) -> bool:
    query = (
        "SELECT 1 FROM shown_orders WHERE drop_id = $1 AND starts_with(idempotency_key, $2)"
        " AND status IN ('accepted', 'reserved', 'action_required') LIMIT 1"
    )
    return bool(await books.rows(query, drop_id, f"{run}-"))
