"""Reserve stock by the book: SELECT FOR UPDATE, UPDATE, UPDATE, INSERT, COMMIT, once for each message."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import flask
import functions_framework
from flask.typing import ResponseReturnValue
from sqlalchemy import insert, select, update

from loadtest.baselines.store import engine, events, items, orders


@functions_framework.http
def process_order(request: flask.Request) -> ResponseReturnValue:
    """Acknowledge (204) a Pub/Sub message once its order is decided."""
    message = json.loads(base64.b64decode(request.get_json()["message"]["data"]))
    _decide(UUID(message["order_id"]), message["request"])
    return "", 204


def _decide(order_id: UUID, wanted: dict[str, Any]) -> None:
    """Decide an order; a message that comes twice changes nothing. One transaction."""
    quantities = {line["sku"]: line["quantity"] for line in wanted["items"]}
    these = (items.c.drop_id == wanted["drop_id"]) & items.c.sku.in_(list(quantities))
    with engine().begin() as connection:
        # in one order, so that two orders of the same items don't deadlock
        free = select(items.c.sku, (items.c.stock - items.c.sold).label("left")).where(these)
        free = free.order_by(items.c.sku).with_for_update()
        left = {row.sku: row.left for row in connection.execute(free)}
        enough = all(left.get(sku, 0) >= quantity for sku, quantity in quantities.items())
        status = "reserved" if enough else "sold_out"
        waiting = (orders.c.id == order_id) & (orders.c.status == "accepted")
        if not connection.execute(update(orders).where(waiting).values(status=status)).rowcount:
            return
        for sku, quantity in quantities.items() if enough else ():
            item = (items.c.drop_id == wanted["drop_id"]) & (items.c.sku == sku)
            connection.execute(update(items).where(item).values(sold=items.c.sold + quantity))
        connection.execute(insert(events).values(order_id=order_id, seq=2, type=f"order.{status}"))
