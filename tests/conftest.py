"""A real PostgreSQL for each test process, migrated once into a template, and a copy of that for each test."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from local.postgres import Postgres, start_postgres
from migrations.run import upgrade

for name in [name for name in os.environ if name.startswith(("MERCHDROP_", "PUBSUB_"))]:
    del os.environ[name]

# Tests kill processes, never the machine: nothing that they look at needs the disk's own word.
_SPEED = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Not below pytest's own folder: as root, PostgreSQL runs as somebody else, whom another pytest's start locks out.
    with TemporaryDirectory(prefix="merchdrop-tests-") as directory, start_postgres(Path(directory), _SPEED) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    asyncio.run(execute(postgres.url("postgres"), "CREATE DATABASE template_migrated"))
    upgrade(postgres.url("template_migrated"))
    return "template_migrated"


@pytest.fixture
async def database_url(postgres: Postgres, template: str) -> str:
    """A freshly migrated database of its own, where a test commits for real."""
    name = f"test_{uuid4().hex}"
    await execute(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}")
    return postgres.url(name)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Engine]:
    connection = await asyncpg.connect(database_url)
    yield Engine(connection, database_url)
    await connection.close()


class Engine:
    """The SQL functions as their owner calls them, and a look into the books."""

    def __init__(self, connection: asyncpg.Connection[Any], url: str) -> None:
        self.connection, self.url = connection, url

    async def call(self, function: str, argument: Any) -> Any:
        return json.loads(await self.connection.fetchval(f"SELECT {function}($1::jsonb)", json.dumps(argument)))

    async def create_drop(self, drop_id: str = "drop", **fields: Any) -> None:
        items = fields.pop("items", {"M": 3})
        price = fields.pop("price", 0)
        wanted = [{"sku": sku, "stock": stock, "unit_price_minor": price} for sku, stock in items.items()]
        outcome = await self.call("create_drop", {"id": drop_id, "currency": "USD", "items": wanted, **fields})
        assert outcome["outcome"] == "created"

    async def accept(self, *orders: dict[str, Any]) -> list[dict[str, Any]]:
        return list(await self.call("accept_orders", orders))

    async def reserve(self, *order_ids: str) -> dict[str, str]:
        outcomes = await self.call("reserve_orders", [{"order_id": order_id} for order_id in order_ids])
        return {outcome["order_id"]: outcome["outcome"] for outcome in outcomes}

    async def violations(self) -> list[asyncpg.Record]:
        return list(await self.connection.fetch("SELECT * FROM audit_violations"))

    async def count(self, condition: str) -> int:
        return int(await self.connection.fetchval(f"SELECT count(*) FROM {condition}"))


def order(key: str, items: dict[str, int] | None = None, *, drop_id: str = "drop", **fields: Any) -> dict[str, Any]:
    """An entry for accept_orders; the id follows from drop and key, as in the engine."""
    request = {
        "drop_id": drop_id,
        "customer": {"id": fields.pop("customer", f"customer-{key}")},
        "items": [{"sku": sku, "quantity": quantity} for sku, quantity in (items or {"M": 1}).items()],
        **fields.pop("request", {}),
    }
    return {
        "order_id": order_id(key, drop_id),
        "drop_id": drop_id,
        "idempotency_key": key,
        "fingerprint": "same",
        "request": request,
        "payable": False,
        **fields,
    }


def order_id(key: str, drop_id: str = "drop") -> str:
    return str(UUID(bytes=hashlib.sha256(f"{drop_id}/{key}".encode()).digest()[:16]))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
