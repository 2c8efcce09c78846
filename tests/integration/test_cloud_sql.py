"""The way to the database in the cloud: the real connector, against tokens, an Admin API and a TLS proxy of our own."""

from __future__ import annotations

import asyncio
import gc
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from common import breaker, cloud_sql
from common.database import Database, DatabaseUnavailable
from common.settings import DATABASE_NAME, SettingsError, database_address
from local.postgres import Postgres
from tests.cloud_sql import INSTANCE, USER, CloudSqlStandIn
from tests.conftest import Engine, execute
from tests.outages import awaited
from tests.serving import serve


@pytest.fixture
async def engine(postgres: Postgres, template: str) -> AsyncIterator[Engine]:
    """A database of the name that it has in the cloud, with a login that is asked for no password behind the proxy."""
    rules = postgres.directory / "pg_hba.conf"
    trust = f'host {DATABASE_NAME} "{USER}" 127.0.0.1/32 trust\n'
    if not rules.read_text().startswith(trust):
        rules.write_text(trust + rules.read_text())
        await execute(postgres.url("postgres"), f'CREATE ROLE "{USER}" LOGIN IN ROLE merchdrop_checkout')
        await execute(postgres.url("postgres"), "SELECT pg_reload_conf()")
    await execute(postgres.url("postgres"), f"CREATE DATABASE {DATABASE_NAME} TEMPLATE {template}")
    connection = await asyncpg.connect(postgres.url(DATABASE_NAME))
    yield Engine(connection, postgres.url(DATABASE_NAME))
    await connection.close()
    await execute(postgres.url("postgres"), f"DROP DATABASE {DATABASE_NAME} WITH (FORCE)")


@pytest.fixture
def cloud(
    engine: Engine, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CloudSqlStandIn]:
    with CloudSqlStandIn(tmp_path, postgres.port).running() as cloud:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(cloud.credentials))
        yield cloud
    gc.collect()  # the connector drops tasks that failed; they are reported here, not in the middle of something else


@pytest.fixture
async def database(cloud: CloudSqlStandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(breaker, "BREAKER_PAUSE_SECONDS", 0.0)
    database = Database(cloud.login)
    yield database
    await database.close()


async def _whoami(database: Database) -> str:
    return str((await database.read("SELECT current_user"))[0][0])


async def test_it_logs_in_as_the_account_and_fetches_one_certificate(
    database: Database, cloud: CloudSqlStandIn
) -> None:
    assert cloud.calls == []  # nothing before the first use
    assert set(await asyncio.gather(*(_whoami(database) for _ in range(20)))) == {USER}
    assert sorted(cloud.calls) == ["connectSettings", "generateEphemeralCert"]


@pytest.mark.parametrize("seconds", [0.0, 0.3], ids=["while it makes its key", "while the Admin API is silent"])
async def test_an_attempt_that_is_given_up_leaves_nothing_that_hangs(
    database: Database, cloud: CloudSqlStandIn, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    cloud.hangs.set()
    with monkeypatch.context() as soon:
        soon.setattr(cloud_sql, "CLOUD_SQL_CONNECT_SECONDS", seconds)
        with pytest.raises(DatabaseUnavailable):
            await database.read("SELECT 1")
    cloud.hangs.clear()
    assert await _eventually(database) == USER


async def test_who_stops_waiting_does_not_stop_the_certificate(database: Database, cloud: CloudSqlStandIn) -> None:
    cloud.hangs.set()
    impatient = asyncio.create_task(database.read("SELECT 1"))
    await awaited(lambda: _called(cloud, 2))
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    cloud.hangs.clear()
    assert await _whoami(database) == USER
    assert sorted(cloud.calls) == ["connectSettings", "generateEphemeralCert"]


async def test_a_refusal_of_the_admin_api_is_an_outage_that_ends(database: Database, cloud: CloudSqlStandIn) -> None:
    cloud.status = 403
    with pytest.raises(DatabaseUnavailable):
        await database.read("SELECT 1")
    cloud.status = 200
    assert await _eventually(database) == USER


async def test_an_instance_elsewhere_is_refused(database: Database, cloud: CloudSqlStandIn) -> None:
    cloud.region = "us-central1"
    with pytest.raises(DatabaseUnavailable):
        await database.read("SELECT 1")


async def test_checkout_takes_an_order_through_it(engine: Engine, cloud: CloudSqlStandIn) -> None:
    await engine.create_drop()
    body = json.dumps({"drop_id": "drop", "customer": {"id": "c-1"}, "items": [{"sku": "M", "quantity": 1}]}).encode()
    settings = {
        "MERCHDROP_CLOUD_SQL_INSTANCE": INSTANCE,
        "MERCHDROP_DATABASE_USER": USER,
        "MERCHDROP_CLOUD_SQL_API_BASE": cloud.login.api_base,
    }
    with serve("checkout", "", output=None, **settings) as url:
        headers = {"Content-Type": "application/json", "Idempotency-Key": "key"}
        request = urllib.request.Request(f"{url}/v1/checkout", body, headers)
        assert await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=30).status) == 202
    assert await engine.count("orders WHERE status = 'accepted'") == 1
    assert sorted(cloud.calls) == ["connectSettings", "generateEphemeralCert"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "set one of"),
        ({"MERCHDROP_DATABASE_URL": "postgresql://x", "MERCHDROP_CLOUD_SQL_INSTANCE": INSTANCE}, "are both set"),
        ({"MERCHDROP_DATABASE_URL": "postgresql://x", "MERCHDROP_DATABASE_USER": USER}, "are both set"),
        ({"MERCHDROP_DATABASE_USER": USER}, "set one of"),
        ({"MERCHDROP_CLOUD_SQL_INSTANCE": "merchdrop", "MERCHDROP_DATABASE_USER": USER}, "project:region:instance"),
        ({"MERCHDROP_CLOUD_SQL_INSTANCE": INSTANCE}, "MERCHDROP_DATABASE_USER is not set"),
    ],
)
def test_settings_that_name_no_database_say_what_is_wrong(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words):
        database_address()


async def _called(cloud: CloudSqlStandIn, times: int) -> bool:
    return len(cloud.calls) == times


async def _eventually(database: Database) -> str:
    """Who we are, as soon as the database is back."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await _whoami(database)
            except DatabaseUnavailable:
                await asyncio.sleep(0.02)
