"""`merchdrop migrate`: up and down, and a sentence instead of a traceback for whatever stands in its way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from local.postgres import Postgres
from migrations.run import ADVISORY_LOCK, revisions
from tests.command import fail, run, succeed, tell

DROP = ("drop", "create", "tee", "--item", "M=5@0")
HEAD = revisions()[-1]


@pytest.fixture
def empty_url(postgres: Postgres) -> str:
    """A database without any migration."""
    name = f"test_{uuid4().hex}"
    execute(postgres.url("postgres"), f"CREATE DATABASE {name}")
    return postgres.url(name)


def execute(url: str, statement: str) -> None:
    async def once() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(once())


@contextmanager
def holding(url: str, statement: str) -> Iterator[None]:
    """A transaction of somebody else's that stays open."""
    with asyncio.Runner() as runner:
        connection: asyncpg.Connection[Any] = runner.run(asyncpg.connect(url))
        try:
            runner.run(connection.execute(f"BEGIN; {statement}"))
            yield
        finally:
            runner.run(connection.close())


def test_an_empty_database_is_brought_up_and_stays(empty_url: str) -> None:
    assert "run `merchdrop migrate`" in fail("drop", "list", url=empty_url)
    assert tell("migrate", url=empty_url) == {"revision": HEAD, "was": "base"}
    succeed(*DROP, url=empty_url)
    assert succeed("migrate", url=empty_url) == f"the database is at {HEAD} already\n"
    assert len(tell("drop", "list", url=empty_url)) == 1


def test_going_down_asks_when_there_is_something_to_lose(database_url: str) -> None:
    succeed(*DROP, url=database_url)
    for answer in ("", "n\n"):
        refused = run("migrate", "--to", "base", url=database_url, answer=answer)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "1 drops and 0 orders" in refused.stderr
        assert "--yes" in refused.stderr
    assert len(tell("drop", "list", url=database_url)) == 1
    assert run("migrate", "--to", "base", url=database_url, answer="y\n").exit_code == 0
    assert "run `merchdrop migrate`" in fail("drop", "list", url=database_url)


def test_going_down_with_yes_does_not_ask(database_url: str) -> None:
    succeed(*DROP, url=database_url)
    assert tell("migrate", "--to", "base", "--yes", url=database_url) == {"revision": "base", "was": HEAD}


def test_going_down_from_an_empty_engine_does_not_ask(database_url: str) -> None:
    assert tell("migrate", "--to", "base", url=database_url) == {"revision": "base", "was": HEAD}
    assert tell("migrate", url=database_url) == {"revision": HEAD, "was": "base"}


@pytest.mark.parametrize("revision", ["9999", "", "-1", "+1", "bas", "head:base"])
def test_an_unknown_revision_is_refused_with_those_that_there_are(database_url: str, revision: str) -> None:
    told = fail("migrate", f"--to={revision}", url=database_url, status=2)
    assert f"there is no revision '{revision}'; there are base, " in told
    assert tell("migrate", url=database_url)["was"] == HEAD


def test_a_database_of_a_later_release_is_left_alone(database_url: str) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    for target in ("head", "base"):
        assert "at revision 9999, which this release does not know" in fail("migrate", "--to", target, url=database_url)


def test_somebody_else_who_migrates_is_not_waited_for_long(empty_url: str) -> None:
    with holding(empty_url, f"SELECT pg_advisory_lock({ADVISORY_LOCK})"):
        assert "try again in a minute" in fail("migrate", url=empty_url)
    assert tell("migrate", url=empty_url)["was"] == "base"


def test_a_table_in_use_is_not_waited_for_long(database_url: str) -> None:
    with holding(database_url, "SELECT * FROM rejected_messages"):
        assert "try again in a minute" in fail("migrate", "--to", "base", url=database_url)
    assert tell("migrate", url=database_url)["was"] == HEAD


def test_a_migration_that_the_database_refuses_says_why(empty_url: str) -> None:
    execute(empty_url, "CREATE VIEW drops AS SELECT 1")
    assert 'the database refused: relation "drops" already exists' in fail("migrate", url=empty_url)
