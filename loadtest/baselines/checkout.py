"""Take an order by the book: validate it, store it under its key in one transaction, publish it, answer 202."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from typing import Any

import flask
import functions_framework
from flask.typing import ResponseReturnValue
from sqlalchemy import Connection, Row, func, select
from sqlalchemy.dialects.postgresql import insert

from common.models import CheckoutRequest
from common.parsing import canonical_json, fingerprint, parse_checkout, parse_idempotency_key
from common.problems import Problem
from common.settings import PUBLISH_SECONDS
from loadtest.baselines.store import drops, engine, events, items, orders, publisher


@functions_framework.http
def checkout(request: flask.Request) -> ResponseReturnValue:
    """Answer `POST /v1/checkout`."""
    try:
        key = parse_idempotency_key(request.headers.getlist("Idempotency-Key"))
        wanted = parse_checkout(request.get_data())
        order, is_new = _accept(wanted, key)
    except Problem as problem:
        return flask.jsonify(problem.body()), problem.status
    if is_new:
        _publish(order)
    path = f"/v1/orders/{order['id']}"
    answer = {"order_id": str(order["id"]), "status": "accepted", "status_url": path}
    return flask.jsonify(answer), 202, {"Location": path, "Retry-After": "1"}


def _accept(wanted: CheckoutRequest, key: str) -> tuple[dict[str, Any], bool]:
    """The order of this key, and whether this request made it; one transaction."""
    document = wanted.document()
    order: dict[str, Any] = {
        "id": uuid.uuid4(),
        "drop_id": wanted.drop_id,
        "idempotency_key": key,
        "fingerprint": fingerprint(canonical_json(document)),
        "customer_id": wanted.customer.id,
        "amount_minor": 0,
        "request": document,
    }
    with engine().begin() as connection:
        offers = {row.sku: row for row in _read_offers(connection, wanted)}
        if (refusal := _refusal(wanted, offers)) is None:
            order["amount_minor"] = sum(line.quantity * offers[line.sku].unit_price_minor for line in wanted.items)
            created = connection.execute(insert(orders).values(order).on_conflict_do_nothing().returning(orders.c.id))
            if created.first() is not None:
                connection.execute(insert(events).values(order_id=order["id"], seq=1, type="order.accepted"))
                return order, True
        return _stored(connection, order, refusal), False


def _read_offers(connection: Connection, wanted: CheckoutRequest) -> Sequence[Row[Any]]:
    """The wanted items of a drop that is open, by now."""
    query = select(items).join(drops, drops.c.id == items.c.drop_id)
    query = query.where(items.c.drop_id == wanted.drop_id, items.c.sku.in_([line.sku for line in wanted.items]))
    return connection.execute(query.where(func.now() >= drops.c.starts_at, func.now() < drops.c.ends_at)).all()


def _refusal(wanted: CheckoutRequest, offers: dict[str, Row[Any]]) -> Problem | None:
    if any(line.sku not in offers for line in wanted.items):
        return Problem("unknown-sku", "Take what an open drop offers.")
    sold_out = [sku for sku, offer in offers.items() if offer.sold >= offer.stock]
    return Problem("sold-out", "Units may come back.", skus=sold_out) if sold_out else None


def _stored(connection: Connection, order: dict[str, Any], refusal: Problem | None) -> dict[str, Any]:
    """The order that an earlier request made under the key; else the refusal."""
    query = select(orders).where(orders.c.drop_id == order["drop_id"])
    earlier = connection.execute(query.where(orders.c.idempotency_key == order["idempotency_key"])).first()
    if earlier is None:
        raise refusal or RuntimeError("an order conflicts with no order of its key")
    if earlier.fingerprint != order["fingerprint"]:
        raise Problem("idempotency-key-reused", "Use a new key for a new order.")
    return dict(earlier._mapping)


def _publish(order: dict[str, Any]) -> None:
    message = {"schema_version": 1, "order_id": str(order["id"])}
    message |= {name: order[name] for name in ("idempotency_key", "fingerprint", "request", "amount_minor")}
    topic = f"projects/{os.environ['MERCHDROP_PROJECT']}/topics/orders"
    messages = [{"data": json.dumps(message).encode()}]
    publisher().publish(request={"topic": topic, "messages": messages}, timeout=PUBLISH_SECONDS)
