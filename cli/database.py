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

from cli.secrets import revealed
from common import settings
from common.cloud_sql import CloudSqlRefused
from common.connection import connected
from common.settings import CloudSqlLogin
from local.data_dir import DataDir

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 30.0  # an audit of a large drop reads all its orders

SETTINGS = ("MERCHDROP_DATABASE_URL", "MERCHDROP_CLOUD_SQL_INSTANCE", "MERCHDROP_DATABASE_USER")
_NO_ENGINE = "the engine of this release is not in it: run `merchdrop migrate`"
# What a server says (the names are asyncpg's), and what to do about it.
_ADVICE: dict[type[asyncpg.PostgresError], str] = {
    asyncpg.InvalidAuthorizationSpecificationError: "correct user and password in MERCHDROP_DATABASE_URL, or"
    " the account in MERCHDROP_DATABASE_USER",
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


def is_elsewhere() -> bool:
    """Whether the environment names a database; it goes before a local engine's."""
    return any(os.environ.get(name) for name in SETTINGS)


def database_address(data_dir: Path) -> str | CloudSqlLogin:
    """The database that the environment names, or the local engine's.

    Raises:
        ClickException: there is neither, or its URL is a secret that can't be had.
        SettingsError: the settings contradict each other, or one is missing.
        LocalError: the file that tells where the local engine is can't be read.
    """
    if is_elsewhere():
        address = settings.database_address()
        return revealed("MERCHDROP_DATABASE_URL", address) if isinstance(address, str) else address
    if url := DataDir(data_dir).stack().get("database_url"):
        return str(url)
    raise click.ClickException(
        f"no database: no engine runs in {data_dir} (start one with `merchdrop up`, or name its --data-dir),"
        " and neither MERCHDROP_DATABASE_URL nor MERCHDROP_CLOUD_SQL_INSTANCE is set"
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
        SettingsError: its address is not one.
    """
    address = database_address(data_dir)

    async def run() -> Result:
        async with connected(address, {"timezone": "UTC"}, CONNECT_SECONDS, COMMAND_SECONDS) as connection:
            return await work(Books(connection))

    try:
        return asyncio.run(run())
    except CloudSqlRefused as error:
        raise click.ClickException(
            f"{error}; MERCHDROP_CLOUD_SQL_INSTANCE must be right, and the account that runs this needs the role"
            " cloudsql.client"
        ) from error
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
        raise click.ClickException(
            f"the database does not answer ({str(error) or 'not in time'}); is it running, and is its address right?"
        ) from error
    except asyncpg.PostgresError as error:
        advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), "")
        raise click.ClickException(f"the database refused: {error}{advice and '; '}{advice}") from error
