"""Connections to PostgreSQL: a small pool for each process, made on first use, with every wait bounded."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg

from common.batching import BadItem
from common.settings import DATABASE_COMMAND_SECONDS, DATABASE_CONNECT_SECONDS, DATABASE_POOL_MAX

_DATA_ERRORS = ("22", "23")  # SQLSTATE classes: data exception, integrity constraint violation


class DatabaseUnavailable(Exception):
    """The database does not answer, or not in time. What was asked may or may not have been done; ask again."""


class Database:
    """Calls SQL functions and reads views. Use it from one event loop only."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def call(self, function: str, argument: Any) -> Any:
        """Call a SQL function that takes one JSON value and returns one: one statement, one transaction.

        Raises:
            BadItem: the argument is what the database can't take (SQLSTATE class 22 or 23).
            DatabaseUnavailable: no connection, no answer in time, or the server gave up.
        """
        rows = await self.query(f"SELECT {function}($1::jsonb)", json.dumps(argument))
        return json.loads(rows[0][0])

    async def query(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement with parameters and fetch its rows; raises as `call` does."""
        try:
            pool = await self._open()
            async with pool.acquire(timeout=DATABASE_COMMAND_SECONDS) as connection:
                return await connection.fetch(statement, *arguments)
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "").startswith(_DATA_ERRORS):
                raise BadItem(error.sqlstate) from error
            raise DatabaseUnavailable(f"PostgreSQL answered with SQLSTATE {error.sqlstate}") from error
        except (OSError, asyncpg.InterfaceError, TimeoutError) as error:
            raise DatabaseUnavailable(f"PostgreSQL can't be reached ({type(error).__name__})") from error

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def _open(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=DATABASE_POOL_MAX,
                    timeout=DATABASE_CONNECT_SECONDS,
                    command_timeout=DATABASE_COMMAND_SECONDS,
                )
            return self._pool
