"""Read the database by plain SQL, and the provider's books by plain HTTP."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg

from loadtest.gameday.checker.records import Entry, Event, Item, Movement, Order, Records

CONNECT_SECONDS = 10
STATEMENT_MILLISECONDS = 60_000
HTTP_SECONDS = 60.0

_ORDERS = """
    SELECT o.id::text, o.drop_id, o.idempotency_key, o.status, o.event_seq, jsonb_object_agg(l.sku, l.quantity)
    FROM orders o JOIN order_lines l ON l.order_id = o.id GROUP BY o.id
"""
_LEDGER = "SELECT drop_id, sku, kind, quantity, extract(epoch FROM at)::float8 FROM ledger ORDER BY id"
_ITEMS = "SELECT drop_id, sku, stock, reserved, sold FROM items"
_EVENTS = "SELECT order_id::text, seq, type, extract(epoch FROM occurred_at)::float8 FROM events ORDER BY order_id, seq"


def collect(records: Records, database_url: str, stripe_url: str) -> Records:
    """The records with what the database and the provider have; it all has to stand still by now."""
    with psycopg.connect(database_url, connect_timeout=CONNECT_SECONDS) as connection:
        connection.execute(f"SET statement_timeout = {STATEMENT_MILLISECONDS}")

        def rows(query: str) -> list[Any]:
            return connection.execute(query).fetchall()

        return replace(
            records,
            orders=[
                Order(id_, (drop, key), status, lines, seq) for id_, drop, key, status, seq, lines in rows(_ORDERS)
            ],
            ledger=[Entry(*row) for row in rows(_LEDGER)],
            items=[Item(*row) for row in rows(_ITEMS)],
            events=[Event(*row) for row in rows(_EVENTS)],
            movements=_movements(stripe_url),
        )


def _movements(stripe_url: str) -> list[Movement]:
    with urllib.request.urlopen(f"{stripe_url}/_control/movements", timeout=HTTP_SECONDS) as answer:
        return [
            Movement(
                row["kind"],
                row["metadata"].get("order_id", row["payment_intent"]),
                row["amount"],
                row["currency"],
                datetime.fromisoformat(row["at"]).timestamp(),
            )
            for row in json.load(answer)
        ]
