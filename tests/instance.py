"""A PostgreSQL as Cloud SQL makes one: a database, an owner that nobody logs in as, and logins by IAM."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg

from common.settings import DATABASE_NAME
from local.postgres import Postgres, start_postgres
from tests.cloud_sql import CloudSqlStandIn

OWNER = "cloudsqlsuperuser"  # it may make roles; its members inherit all that it may, but not that
MIGRATE, ANOTHER, OPERATOR = "merchdrop-migrate@demo.iam", "somebody-else@demo.iam", "merchdrop-operator@demo.iam"


@contextmanager
def new_instance() -> Iterator[Postgres]:
    """One without a database, and without any of the engine's roles. Behind the proxy, logins need no password."""
    with TemporaryDirectory(prefix="merchdrop-tests-") as folder, start_postgres(Path(folder), {"fsync": "off"}) as one:
        rules = one.directory / "pg_hba.conf"
        rules.write_text(f'host {DATABASE_NAME} "/@demo.iam$" 127.0.0.1/32 trust\n{rules.read_text()}')
        ask(
            one.url("postgres"),
            "SELECT pg_reload_conf()",
            f"CREATE ROLE {OWNER} CREATEROLE",
            f'CREATE ROLE "{MIGRATE}" LOGIN IN ROLE {OWNER}',
            f'CREATE ROLE "{ANOTHER}" LOGIN IN ROLE {OWNER}',
            f'CREATE ROLE "{OPERATOR}" LOGIN',
        )
        yield one


@contextmanager
def in_cloud(instance: Postgres, folder: Path) -> Iterator[CloudSqlStandIn]:
    """The way to an empty database in that instance, which lasts as long."""
    ask(instance.url("postgres"), f"CREATE DATABASE {DATABASE_NAME} OWNER {OWNER}")
    with CloudSqlStandIn(folder, instance.port).running() as cloud:
        yield cloud
    ask(instance.url("postgres"), f"DROP DATABASE {DATABASE_NAME} WITH (FORCE)")


def ask(url: str, *statements: str) -> list[Any]:
    """The rows of the last statement."""

    async def once() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [await connection.fetch(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(once())
