"""What a sale does in the books: put something on sale, and look afterwards at what was sold."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import click

from cli.database import Books
from cli.verdict import Booked
from common.drop_contracts import NewDrop, NewItem

# Orders whose messages were lost wait for reconcile, which runs once a minute; so do payments in doubt, with growing
# pauses. Whoever has to act has his hold's time besides.
SETTLE_SECONDS = 300
HOLD_SECONDS = 600  # of a drop whose orders nobody leaves unpaid

# An order is decided when its units are reserved, or not: payment comes later.
_ORDERS = (
    "SELECT o.order_id, o.idempotency_key, o.status, o.items, o.amount_minor, o.currency, o.payment,"
    " extract(epoch FROM o.accepted_at)::float8 AS accepted_epoch,"
    " extract(epoch FROM o.updated_at)::float8 AS updated_epoch,"
    " extract(epoch FROM coalesce(r.at, o.updated_at))::float8 AS decided_epoch"
    " FROM shown_orders o LEFT JOIN LATERAL"
    " (SELECT min(l.at) AS at FROM ledger l WHERE l.order_id = o.order_id AND l.kind = 'reserve') r ON true"
    " WHERE o.drop_id = $1 AND starts_with(o.idempotency_key, $2)"
)
_LEDGER = "SELECT order_id, sku, kind, quantity, extract(epoch FROM at)::float8 AS epoch FROM ledger WHERE drop_id = $1"
_DROP = (
    "SELECT state, starts_at <= now() AND now() < ends_at AS open, hold_seconds, items"
    " FROM shown_drops WHERE drop_id = $1"
)
# Money of an order that is over is on its way back.
_WAITING = (
    "SELECT 1 FROM shown_orders WHERE drop_id = $1 AND starts_with(idempotency_key, $2)"
    " AND (status IN ('accepted', 'reserved', 'action_required') OR status <> 'confirmed'"
    " AND (payment->>'captured_minor')::bigint > (payment->>'refunded_minor')::bigint) LIMIT 1"
)


class Offer(NamedTuple):
    """What a drop has for the crowd."""

    skus: tuple[str, ...]
    is_paid: bool
    hold_seconds: int


async def make_drop(
    books: Books, drop_id: str, units: int, skus: int, price_minor: int = 0, hold_seconds: int = HOLD_SECONDS
) -> str:
    """Put a drop on sale, its units shared out among its SKUs."""
    stock = {f"SKU-{n + 1}": units // skus + (n < units % skus) for n in range(skus)}
    items: list[NewItem] = [{"sku": sku, "stock": stock[sku], "unit_price_minor": price_minor} for sku in stock]
    wanted: NewDrop = {"id": drop_id, "currency": "USD", "items": items, "hold_seconds": hold_seconds}
    await books.call("create_drop", wanted)
    return drop_id


async def look_at(books: Books, drop_id: str) -> Offer:
    """What the drop sells. The crowd has no business where nothing can be had."""
    if not (found := await books.rows(_DROP, drop_id)):
        raise click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")
    drop = found[0]
    if drop["state"] != "live" or not drop["open"]:
        raise click.ClickException(f"drop {drop_id!r} is not open; see `merchdrop drop show {drop_id}`")
    is_paid = any(item["unit_price_minor"] for item in drop["items"])
    return Offer(tuple(item["sku"] for item in drop["items"]), is_paid, drop["hold_seconds"])


async def settled_books(books: Books, drop_id: str, run: str) -> Booked:
    """The books, once no order or money of the crowd waits any more or SETTLE_SECONDS and a hold's time are over."""
    hold_seconds = (await books.rows(_DROP, drop_id))[0]["hold_seconds"]
    deadline = time.monotonic() + SETTLE_SECONDS + hold_seconds
    waiting = (_WAITING, drop_id, f"{run}-")
    while await books.rows(*waiting) and time.monotonic() < deadline:  # noqa: ASYNC110 (nothing could signal)
        await asyncio.sleep(1)
    items = (await books.rows(_DROP, drop_id))[0]["items"]
    violations = await books.rows("SELECT 1 FROM audit_violations WHERE drop_id = $1", drop_id)
    return Booked(
        units=sum(item["stock"] for item in items),
        sold=sum(item["sold"] for item in items),
        orders=await books.rows(_ORDERS, drop_id, f"{run}-"),
        violations=len(violations),
        ledger=await books.rows(_LEDGER, drop_id),
    )
