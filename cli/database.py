"""Where the operator's commands find the database, and how they talk to it: bounded, and with errors that help."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import click

from local.data_dir import DataDir

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 30.0  # an audit of a large drop reads all its orders

_URL_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_NO_ENGINE = "the engine of this release is not in it: run `merchdrop migrate`"
# What a server says (the names are asyncpg's), and what to do about it.
_ADVICE: dict[type[asyncpg.PostgresError], str] = {
    asyncpg.InvalidAuthorizationSpecificationError: "correct user and password in MERCHDROP_DATABASE_URL",
    asyncpg.InvalidCatalogNameError: "create it (CREATE DATABASE), or correct MERCHDROP_DATABASE_URL",
    asyncpg.UndefinedTableError: _NO_ENGINE,
    asyncpg.UndefinedFunctionError: _NO_ENGINE,
    asyncpg.UndefinedColumnError: _NO_ENGINE,
    asyncpg.InsufficientPrivilegeError: "connect as a member of merchdrop_operator, or as the tables' owner",
    asyncpg.IntegrityConstraintViolationError: "nothing was changed",
    asyncpg.DataError: "nothing was changed",
    asyncpg.OperatorInterventionError: "try again in a moment",
    asyncpg.InsufficientResourcesError: "try again in a moment",
}

Result = TypeVar("Result")


def database_url(data_dir: Path) -> str:
    """The database of MERCHDROP_DATABASE_URL, or of the local engine.

    Raises:
        ClickException: there is neither.
        LocalError: the file that tells where the local engine is can't be read.
    """
    if url := os.environ.get("MERCHDROP_DATABASE_URL"):
        return url
    if url := DataDir(data_dir).stack().get("database_url"):
        return str(url)
    raise click.ClickException(
        f"no database: no engine runs in {data_dir} (start one with `merchdrop up`, or name its --data-dir),"
        " and MERCHDROP_DATABASE_URL is not set"
    )


class Books:
    """The SQL functions and views, as an operator uses them."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def call(self, function: str, argument: Any) -> Any:
        """Call a SQL function of the engine; what it takes and returns is in common/contracts.py."""
        return json.loads(await self._connection.fetchval(f"SELECT {function}($1::jsonb)", json.dumps(argument)))

    async def rows(self, query: str, *arguments: object) -> list[Any]:
        """Rows as JSON documents, just as the API shows them."""
        found = await self._connection.fetch(f"SELECT row_to_json(q)::text AS row FROM ({query}) q", *arguments)
        return [json.loads(row["row"]) for row in found]


def with_books(data_dir: Path, work: Callable[[Books], Awaitable[Result]]) -> Result:
    """Run `work` over one connection.

    Raises:
        ClickException: the database can't be reached, or refuses.
    """
    url = database_url(data_dir)

    async def run() -> Result:
        connection = await _connect(url)
        try:
            return await work(Books(connection))
        finally:
            connection.terminate()

    try:
        return asyncio.run(run())
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
        raise click.ClickException(
            f"the database does not answer ({error or 'not in time'}); is it running, and is its address right?"
        ) from error
    except asyncpg.PostgresError as error:
        advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")
        raise click.ClickException(f"the database refused: {error}{advice and '; '}{advice}") from error


async def _connect(url: str) -> asyncpg.Connection[Any]:
    try:
        return await asyncpg.connect(
            url, timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS, server_settings={"timezone": "UTC"}
        )
    except ValueError as error:  # not told: it may hold a part of the password
        raise click.ClickException(
            f"the database's URL can't be read; {_URL_FORM} is expected, with special characters in USER and PASSWORD"
            " percent-encoded"
        ) from error
