"""Served for real: one checkout, with drops in every state, for the tests of the API; both emulators for the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from local import google_pubsub
from local.machine import HOST, free_port
from local.postgres import Postgres
from tests.conftest import Engine
from tests.contract import stripe_stand_in
from tests.contract.pubsub import Queue, Receiver, connected, embedded, receiving, running
from tests.contract.stripe_stand_in import NO_LIMITS, StandIn
from tests.serving import serve

SECRET = "whsec_tests"  # noqa: S105 - of webhooks that nobody sends


@pytest.fixture(scope="session")
def api_database(postgres: Postgres, template: str) -> str:
    name = f"api_{uuid4().hex}"

    async def make() -> None:
        server = await asyncpg.connect(postgres.url("postgres"))
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await server.close()
        connection = await asyncpg.connect(postgres.url(name))
        books = Engine(connection, "")
        await books.create_drop("open", items={"M": 100_000, "L": 100_000, "GONE": 0}, name="Open")
        await books.create_drop("paid", price=500, items={"M": 100, "GONE": 0})
        await books.create_drop("early", starts_at="2999-01-01T00:00:00Z")
        await books.create_drop("draft", state="draft")
        await books.create_drop("over", starts_at="2000-01-01T00:00:00Z", ends_at="2001-01-01T00:00:00Z")
        await books.create_drop("paused")
        await books.call("set_drop_state", {"drop_id": "paused", "state": "paused"})
        await connection.close()

    asyncio.run(make())
    return postgres.url(name)


@pytest.fixture(scope="session")
def api_url(api_database: str) -> Iterator[str]:
    with serve(
        "checkout", api_database, MERCHDROP_CORS_ORIGINS="https://shop.example", MERCHDROP_STRIPE_WEBHOOK_SECRET=SECRET
    ) as url:
        yield url


@pytest.fixture
async def http(api_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api_url) as session:
        yield session


@pytest.fixture
async def books(api_database: str) -> AsyncIterator[Engine]:
    connection = await asyncpg.connect(api_database)
    yield Engine(connection, api_database)
    await connection.close()


@pytest.fixture(scope="session", params=["embedded", "google"])
def emulator(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where an emulator answers that all tests share, each under names of its own."""
    port = free_port()
    try:
        command = embedded(port) if request.param == "embedded" else google_pubsub.command(port)
    except google_pubsub.EmulatorMissing as missing:
        pytest.skip(str(missing))
    with running(command, port):
        yield f"{HOST}:{port}"


@pytest.fixture
async def queue(emulator: str) -> AsyncIterator[Queue]:
    async with connected(emulator) as queue:
        yield queue


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    """A Stripe stand-in that all tests of a module share, without limits and faults."""
    with stripe_stand_in.running(*NO_LIMITS) as stand_in:
        yield stand_in
