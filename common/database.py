"""Connections to PostgreSQL: a few for each process, made on first use, with every wait bounded.

asyncpg's own pool spends a round trip on resetting each connection that comes back, and waits for a cancellation that a
silent server never answers. Every call here is one statement and one transaction, so there is nothing to reset, and a
connection that takes too long is cut.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg
import orjson

from common.batching import BadItem
from common.breaker import Breaker
from common.cloud_sql import cloud_sql
from common.logs import log
from common.settings import (
    DATABASE_COMMAND_SECONDS,
    DATABASE_CONNECT_SECONDS,
    DATABASE_POOL_MAX,
    DATABASE_STATEMENT_SECONDS,
    CloudSqlLogin,
)

# Beginnings of SQLSTATE.
_DATA = ("22", "23")  # data exception, integrity constraint violation
# connection lost, the server became a replica, no resources, the server is going or not yet there
_AWAY = ("08", "25006", "53", "57P")
_SERVER_SETTINGS = {
    "application_name": "merchdrop",
    "enable_seqscan": "off",  # a plan made while a table was small is kept; everything here is found by an index
    "jit": "off",  # compiling costs more than it saves in statements of milliseconds
}
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)  # TimeoutError too

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class DatabaseUnavailable(Exception):
    """The database does not answer, or not in time. What was asked may or may not have been done; ask again."""


class _Lost(Exception):
    """A connection broke while it was in use; the server may be there all the same."""


class Database:
    """Calls SQL functions and reads views. Use it from one event loop only.

    The server ends a statement after `statement_seconds`; who says nothing at all is given up a little later.
    """

    def __init__(self, address: str | CloudSqlLogin, statement_seconds: float = DATABASE_STATEMENT_SECONDS) -> None:
        self._url = address if isinstance(address, str) else None
        self._cloud_sql = cloud_sql(address) if isinstance(address, CloudSqlLogin) else None
        self._more_seconds = statement_seconds - DATABASE_STATEMENT_SECONDS  # than usual
        self._idle: list[Connection] = []
        self._gate = asyncio.Semaphore(DATABASE_POOL_MAX)
        self._breaker = Breaker("PostgreSQL", self._probe)

    async def call(self, function: str, argument: Any) -> Any:
        """Call a SQL function that takes one JSON value and returns one: one statement, one transaction.

        Raises:
            BadItem: the argument is what the database can't take (SQLSTATE class 22 or 23).
            DatabaseUnavailable: no connection, no answer in time, or the server gave up.
        """
        try:
            rows = await self._run(f"SELECT {function}($1::jsonb)", (orjson.dumps(argument).decode(),))
        except _Lost as error:  # it may be done: only the caller knows what a second time would mean
            raise DatabaseUnavailable(str(error)) from error
        return orjson.loads(rows[0][0])

    async def read(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement that changes nothing and fetch its rows; raises as `call` does."""
        try:
            return await self._run(statement, arguments)
        except _Lost:
            try:
                return await self._run(statement, arguments)
            except _Lost as error:
                raise DatabaseUnavailable(str(error)) from error

    async def close(self) -> None:
        """Cut all connections, and let go of what makes them."""
        self._cut_idle()
        if self._cloud_sql is not None:
            await self._cloud_sql.close()

    def _cut_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    async def _run(self, statement: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
        async with self._gate:
            if await self._breaker.is_open():
                raise DatabaseUnavailable("PostgreSQL did not answer a moment ago")
            connection = self._take() or await self._connect()
            try:
                return await self._fetch(connection, statement, arguments)
            except TimeoutError as error:
                self._breaker.trip(_words(error))
                self._cut_idle()  # the others may be dead as well, and nobody should have to find out
                raise DatabaseUnavailable(_words(error)) from error
            except _ERRORS as error:
                if _is_away(error):
                    raise _Lost(_words(error)) from error
                if _is(error, _DATA):
                    raise BadItem(_words(error)) from error  # not its text, which quotes the data
                log(logging.ERROR, "PostgreSQL refused a statement", cause=_words(error), statement=statement)
                raise DatabaseUnavailable(_words(error)) from error

    def _take(self) -> Connection | None:
        """A connection that waits and is, as far as one can see, alive."""
        while self._idle:
            if not (connection := self._idle.pop()).is_closed():
                return connection
        return None

    async def _connect(self) -> Connection:
        try:
            return await self._open()
        except _ERRORS as error:
            self._breaker.trip(_words(error))
            raise DatabaseUnavailable(_words(error)) from error

    async def _open(self) -> Connection:
        statement_milliseconds = int((DATABASE_STATEMENT_SECONDS + self._more_seconds) * 1000)
        server_settings = {**_SERVER_SETTINGS, "statement_timeout": str(statement_milliseconds)}
        if self._cloud_sql is not None:
            return await self._cloud_sql.connect(server_settings)
        return await asyncpg.connect(self._url, timeout=DATABASE_CONNECT_SECONDS, server_settings=server_settings)

    async def _fetch(self, connection: Connection, statement: str, arguments: Sequence[object]) -> list[asyncpg.Record]:
        """Run one statement; afterwards a connection that is still sound waits for the next one."""
        loop = asyncio.get_running_loop()
        cut = loop.call_later(DATABASE_COMMAND_SECONDS + self._more_seconds, connection.terminate)
        try:
            return await connection.fetch(statement, *arguments)
        except BaseException as error:
            if _is_away(error) or isinstance(error, asyncio.CancelledError):
                connection.terminate()
            if _is_away(error) and loop.time() >= cut.when():
                raise TimeoutError from error
            raise
        finally:
            cut.cancel()
            if not connection.is_closed():
                self._idle.append(connection)

    async def _probe(self) -> None:
        await self._fetch(await self._open(), "SELECT 1", ())


def _is(error: BaseException, classes: tuple[str, ...]) -> bool:
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(classes)


def _is_away(error: BaseException) -> bool:
    """Whether the trouble is with the server or the way to it, not with the statement."""
    return isinstance(error, _ERRORS) and (not isinstance(error, asyncpg.PostgresError) or _is(error, _AWAY))


def _words(error: BaseException) -> str:
    if isinstance(error, asyncpg.PostgresError):
        return f"PostgreSQL answered with SQLSTATE {error.sqlstate}"
    return f"PostgreSQL can't be reached ({type(error).__name__})"
