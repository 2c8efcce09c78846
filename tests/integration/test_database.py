"""Connections to a PostgreSQL that is silent, cuts them, fails over or is busy: bounded, and one time-out for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import asyncpg
import pytest

from common import breaker, database
from common.batching import BadItem
from common.breaker import Breaker
from common.database import Database, DatabaseUnavailable
from common.settings import DATABASE_POOL_MAX
from tests.conftest import Engine, order
from tests.outages import Way, awaited, way_to

CALLS = 20
FOR_EVER = 3600.0
HANG_SECONDS = 2.0


@pytest.fixture
def way(postgres_port: int) -> Iterator[Way]:
    with way_to(postgres_port) as way:
        yield way


@pytest.fixture
def postgres_port(database_url: str) -> int:
    return int(database_url.rpartition(":")[2].partition("/")[0])


@pytest.fixture
async def client(database_url: str, postgres_port: int, way: Way) -> AsyncIterator[Database]:
    """A Database that takes the way."""
    client = Database(database_url.replace(f":{postgres_port}/", f":{way.port}/"))
    yield client
    await client.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent connection is cut soon, and the next probe is due at once."""
    monkeypatch.setattr(database, "DATABASE_COMMAND_SECONDS", 0.5)
    monkeypatch.setattr(breaker, "BREAKER_PAUSE_SECONDS", 0.0)


async def refused(client: Database, times: int) -> None:
    for _ in range(times):
        with pytest.raises(DatabaseUnavailable):
            await client.read("SELECT 1")


async def eventually_reads(client: Database) -> None:
    async def reads() -> bool:
        with suppress(DatabaseUnavailable):
            return bool(await client.read("SELECT 1"))
        return False

    await awaited(reads)


async def cut_while_it_works(engine: Engine) -> None:
    """Cut the one connection of the client, as soon as it runs a statement."""
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'merchdrop' AND state = 'active' AND datname = current_database()"
    )
    await awaited(lambda: engine.connection.fetchval(cut))


async def test_control_without_the_breaker_every_call_waits_for_a_time_out(
    client: Database, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "DATABASE_CONNECT_SECONDS", 0.05)
    monkeypatch.setattr(Breaker, "trip", lambda _self, _cause: None)
    way.silence()
    await refused(client, CALLS)
    assert way.connections == CALLS


async def test_a_silent_server_costs_one_time_out_for_all_calls(
    client: Database, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "BREAKER_PAUSE_SECONDS", FOR_EVER)
    way.silence()
    await refused(client, CALLS)
    assert way.connections == 1


async def test_calls_at_the_same_moment_take_no_more_connections_than_there_may_be(
    client: Database, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "BREAKER_PAUSE_SECONDS", FOR_EVER)
    way.silence()
    await asyncio.gather(*(refused(client, 1) for _ in range(CALLS)))
    assert way.connections == DATABASE_POOL_MAX


async def test_control_without_the_cut_a_silent_connection_hangs(
    client: Database, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "DATABASE_COMMAND_SECONDS", FOR_EVER)
    await client.read("SELECT 1")
    way.silence()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HANG_SECONDS):
            await client.read("SELECT 1")


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_falls_silent_is_cut_and_the_servers_return_is_noticed(
    client: Database, way: Way
) -> None:
    await client.read("SELECT 1")
    way.silence()
    await refused(client, 3)
    way.restore()
    await eventually_reads(client)


@pytest.mark.usefixtures("impatient")
async def test_after_a_failover_one_time_out_is_enough_for_all_old_connections(client: Database, way: Way) -> None:
    for _ in range(2):  # now the pool is full
        await asyncio.gather(*(client.read("SELECT pg_sleep(0.2)") for _ in range(DATABASE_POOL_MAX)))
    assert way.connections == DATABASE_POOL_MAX
    way.fail_over()
    await refused(client, 1)
    await eventually_reads(client)
    await asyncio.gather(*(client.read("SELECT 1") for _ in range(DATABASE_POOL_MAX)))


async def test_cut_connections_are_replaced(client: Database, engine: Engine) -> None:
    await engine.create_drop()
    reading = asyncio.create_task(client.read("SELECT pg_sleep(1)"))
    await cut_while_it_works(engine)
    await reading  # what changes nothing is asked again

    locked = await asyncpg.connect(engine.url)
    async with locked.transaction():
        await locked.execute("LOCK TABLE orders")
        accepting = asyncio.create_task(client.call("accept_orders", [order("first")]))
        await cut_while_it_works(engine)
    with pytest.raises(DatabaseUnavailable):  # only the caller knows what a second time would mean
        await accepting
    await locked.close()
    assert (await client.call("accept_orders", [order("first")]))[0]["outcome"] == "created"


async def test_a_server_that_became_a_replica_is_left(client: Database, engine: Engine) -> None:
    await engine.create_drop()
    name = await engine.connection.fetchval("SELECT current_database()")
    await engine.connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable):
        await client.call("accept_orders", [order("a")])
    await engine.connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert (await client.call("accept_orders", [order("a")]))[0]["outcome"] == "created"


async def test_a_statement_that_takes_too_long_is_no_outage(
    client: Database, engine: Engine, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(database._SERVER_SETTINGS, "statement_timeout", "100")
    monkeypatch.setattr(breaker, "BREAKER_PAUSE_SECONDS", FOR_EVER)
    await engine.create_drop()
    other = await asyncpg.connect(engine.url)
    async with other.transaction():
        await other.execute("LOCK TABLE orders")  # as a migration does
        with pytest.raises(DatabaseUnavailable):
            await client.call("accept_orders", [order("a")])
    await other.close()
    assert (await client.call("accept_orders", [order("a")]))[0]["outcome"] == "created"
    assert way.connections == 1


async def test_what_the_database_cannot_take_is_told_apart_from_trouble(client: Database, engine: Engine) -> None:
    await engine.create_drop()
    with pytest.raises(BadItem):
        await client.call("accept_orders", [order("a", request={"metadata": {"note": "\x00"}})])
    assert (await client.call("accept_orders", [order("a")]))[0]["outcome"] == "created"
