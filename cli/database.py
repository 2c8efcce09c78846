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

CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 30.0  # an audit of a large drop reads all its orders

Result = TypeVar("Result")


def read_stack(data_dir: Path) -> dict[str, Any] | None:
    """The addresses of the engine that runs in a data directory, or None."""
    try:
        stack: dict[str, Any] = json.loads((data_dir / "stack.json").read_text())
    except (OSError, ValueError):
        return None
    return stack


def database_url(data_dir: Path) -> str:
    """The database of MERCHDROP_DATABASE_URL, or of the local engine.

    Raises:
        ClickException: there is neither.
    """
    if url := os.environ.get("MERCHDROP_DATABASE_URL"):
        return url
    if stack := read_stack(data_dir):
        return str(stack["database_url"])
    raise click.ClickException(
        f"no database: no engine runs in {data_dir} (start one with `merchdrop up`, or name its --data-dir),"
        " and MERCHDROP_DATABASE_URL is not set"
    )


class Books:
    """The SQL functions and views, as an operator uses them."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def call(self, function: str, argument: dict[str, Any]) -> dict[str, Any]:
        """Call a SQL function of the engine."""
        text = await self._connection.fetchval(f"SELECT {function}($1::jsonb)", json.dumps(argument))
        result: dict[str, Any] = json.loads(text)
        return result

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows as JSON documents, just as the API shows them."""
        found = await self._connection.fetch(f"SELECT to_jsonb(q)::text AS row FROM ({query}) q", *arguments)
        return [json.loads(row["row"]) for row in found]


def with_books(data_dir: Path, work: Callable[[Books], Awaitable[Result]]) -> Result:
    """Run `work` over one connection.

    Raises:
        ClickException: the database can't be reached, or refuses.
    """

    async def run() -> Result:
        connection = await asyncpg.connect(
            database_url(data_dir), timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS
        )
        try:
            return await work(Books(connection))
        finally:
            connection.terminate()

    try:
        return asyncio.run(run())
    except asyncpg.ClientConfigurationError as error:
        raise click.ClickException(f"the database's URL can't be used, postgresql://… is expected: {error}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        raise click.ClickException(f"the database does not answer ({error or type(error).__name__})") from error
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError) as error:
        raise click.ClickException("the database has no engine in it yet: run `merchdrop migrate`") from error
    except asyncpg.PostgresError as error:
        raise click.ClickException(f"the database refused: {error}") from error
