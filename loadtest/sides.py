"""Both sides of a ratio behind one face: a drop to sell, orders that wait, a function to serve, and the books."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from common.order_contracts import OrderMessage
from common.parsing import canonical_json, fingerprint
from loadtest.lab import BASELINE_DATABASE, Lab, Proxy
from loadtest.payloads import order_document
from loadtest.serving import BenchError, Server, function
from local.database import DATABASE
from local.recipes import ROOT

Serving = AbstractContextManager[Server]

ACCEPT_BATCH = 500
STOCK_MAX = 1_000_000
LIMIT = 2  # units a customer, so that the engine's bookkeeping for it is done


class Side(ABC):
    """What is measured: the engine, or a baseline with one of its drivers."""

    name: str

    @abstractmethod
    def serve(self, lab: Lab, name: str, connections: int, proxy: Proxy | None = None) -> Serving:
        """A function, fit for so many requests at a time, its database behind a proxy or not."""

    @abstractmethod
    def open_drop(self, lab: Lab, drop_id: str, skus: list[str], stock: int = STOCK_MAX, price: int = 0) -> None:
        """Put a drop on sale; each SKU has the same stock and price."""

    @abstractmethod
    def store(self, lab: Lab, orders: list[OrderMessage]) -> None:
        """Have orders accepted, as its checkout would."""

    @abstractmethod
    def count(self, lab: Lab, drop_id: str) -> tuple[int, int]:
        """Orders stored in a drop, and units gone."""

    def accept(self, lab: Lab, drop_id: str, skus: list[str], count: int, price: int = 0) -> list[OrderMessage]:
        """Have orders of new buyers accepted; the messages that its checkout would publish."""
        orders = [_message(order_document(drop_id, skus[n % len(skus)], n), f"key-{n}", price) for n in range(count)]
        self.store(lab, orders)
        return orders


@dataclass(frozen=True)
class EngineSide(Side):
    """The engine, with so many instances of each function."""

    name: str = "engine"
    workers: int = 1

    def serve(self, lab: Lab, name: str, connections: int, proxy: Proxy | None = None) -> Serving:
        environment = lab.engine_environment(name, proxy.port if proxy else None)
        return function(ROOT / "functions" / name / "main.py", lab.directory, environment, self.workers)

    def open_drop(self, lab: Lab, drop_id: str, skus: list[str], stock: int = STOCK_MAX, price: int = 0) -> None:
        items = [{"sku": sku, "stock": stock, "unit_price_minor": price} for sku in skus]
        drop = {"id": drop_id, "currency": "USD", "per_customer_limit": LIMIT, "items": items}
        with lab.connect(DATABASE) as connection:
            connection.execute("SELECT create_drop(%s)", [Jsonb(drop)])

    def store(self, lab: Lab, orders: list[OrderMessage]) -> None:
        with lab.connect(DATABASE) as connection:
            for start in range(0, len(orders), ACCEPT_BATCH):
                batch = [_accept_item(order) for order in orders[start : start + ACCEPT_BATCH]]
                row = connection.execute("SELECT accept_orders(%s)", [Jsonb(batch)]).fetchone()
                if not row or any(verdict["outcome"] != "created" for verdict in row[0]):
                    raise BenchError(f"accept_orders refused what should be taken: {row and row[0][0]}")

    def count(self, lab: Lab, drop_id: str) -> tuple[int, int]:
        with lab.connect(DATABASE) as connection:
            return _count(connection, drop_id, "reserved + sold")


@dataclass(frozen=True)
class BaselineSide(Side):
    """The baseline with one of its drivers; only the database's URL differs."""

    name: str
    driver: str

    def serve(self, lab: Lab, name: str, connections: int, proxy: Proxy | None = None) -> Serving:
        environment = lab.baseline_environment(self.driver, connections, proxy.port if proxy else None)
        return function(ROOT / "loadtest" / "baselines" / f"{name}.py", lab.directory, environment)

    def open_drop(self, lab: Lab, drop_id: str, skus: list[str], stock: int = STOCK_MAX, price: int = 0) -> None:
        with lab.connect(BASELINE_DATABASE) as connection:
            connection.execute("INSERT INTO drops (id, ends_at) VALUES (%s, now() + interval '1 year')", [drop_id])
            rows = [(drop_id, sku, price, stock) for sku in skus]
            connection.cursor().executemany("INSERT INTO items VALUES (%s, %s, %s, %s)", rows)

    def store(self, lab: Lab, orders: list[OrderMessage]) -> None:
        names = "id, drop_id, idempotency_key, fingerprint, customer_id, amount_minor, request"
        with lab.connect(BASELINE_DATABASE) as connection, connection.transaction(), connection.cursor() as cursor:
            with cursor.copy(f"COPY orders ({names}) FROM STDIN") as copy:
                for order in orders:
                    copy.write_row(
                        (
                            uuid.UUID(order["order_id"]),
                            order["request"]["drop_id"],
                            order["idempotency_key"],
                            order["fingerprint"],
                            order["request"]["customer"]["id"],
                            order["amount_minor"],
                            Jsonb(order["request"]),
                        )
                    )
            with cursor.copy("COPY events (order_id, seq, type) FROM STDIN") as copy:
                for order in orders:
                    copy.write_row((uuid.UUID(order["order_id"]), 1, "order.accepted"))

    def count(self, lab: Lab, drop_id: str) -> tuple[int, int]:
        with lab.connect(BASELINE_DATABASE) as connection:
            return _count(connection, drop_id, "sold")


ENGINE = EngineSide()
# What Google's samples and its connector use for synchronous functions; and the same code with a faster driver.
PG8000 = BaselineSide("pg8000", "pg8000")
PSYCOPG = BaselineSide("psycopg", "psycopg")
SIDES: list[Side] = [ENGINE, PG8000, PSYCOPG]


def _message(request: dict[str, Any], key: str, amount_minor: int) -> OrderMessage:
    return {
        "schema_version": 1,
        "order_id": str(uuid.uuid4()),
        "idempotency_key": key,
        "fingerprint": fingerprint(canonical_json(request)),
        "request": request,
        "amount_minor": amount_minor,
    }


def _accept_item(order: OrderMessage) -> dict[str, Any]:
    """An order as accept_orders takes it, from a function that can have it paid for."""
    return {**order, "drop_id": order["request"]["drop_id"], "payable": True}


def _count(connection: psycopg.Connection[Any], drop_id: str, gone: str) -> tuple[int, int]:
    stored = connection.execute("SELECT count(*) FROM orders WHERE drop_id = %s", [drop_id]).fetchone()
    units = connection.execute(f"SELECT sum({gone}) FROM items WHERE drop_id = %s", [drop_id]).fetchone()
    assert stored
    assert units
    return int(stored[0]), int(units[0])
