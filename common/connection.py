"""One connection for somebody who works alone, a command or a migration: no pool, and cut when the work is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from common.cloud_sql import CloudSql
from common.logs import log
from common.settings import CLOUD_SQL_START_SECONDS, CloudSqlLogin, SettingsError

_URL_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


@asynccontextmanager
async def connected(
    address: str | CloudSqlLogin, server_settings: dict[str, str], connect_seconds: float, command_seconds: float
) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection for as long as the block lasts; each command on it takes `command_seconds` at most.

    Raises:
        TimeoutError: no connection in `connect_seconds`, or from Cloud SQL in CLOUD_SQL_START_SECONDS.
        SettingsError: the URL is none.
        CloudSqlRefused, OSError, asyncpg.PostgresError: at once.
    """
    async with AsyncExitStack() as stack:
        if isinstance(address, str):
            connection = await _directly(address, server_settings, connect_seconds, command_seconds)
        else:
            cloud_sql = CloudSql(address)  # of this event loop, with which it ends
            stack.push_async_callback(cloud_sql.close)
            # The connector forgets attempts that were given up, whose errors asyncio would tell with a traceback.
            asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
            connection = await _patiently(cloud_sql, server_settings, command_seconds)
        stack.callback(connection.terminate)
        yield connection


async def _directly(
    url: str, server_settings: dict[str, str], connect_seconds: float, command_seconds: float
) -> asyncpg.Connection[asyncpg.Record]:
    try:
        return await asyncpg.connect(
            url, timeout=connect_seconds, command_timeout=command_seconds, server_settings=server_settings
        )
    except ValueError as error:  # not told: it may hold a part of the password
        raise SettingsError(
            f"the database's URL can't be read; {_URL_FORM} is expected, with special characters in USER and PASSWORD"
            " percent-encoded"
        ) from error


async def _patiently(
    cloud_sql: CloudSql, server_settings: dict[str, str], command_seconds: float
) -> asyncpg.Connection[asyncpg.Record]:
    """A connection, as soon as there is a way to the instance; each attempt has a time-out of its own."""
    deadline = asyncio.get_running_loop().time() + CLOUD_SQL_START_SECONDS
    while True:
        try:
            return await cloud_sql.connect(server_settings, command_seconds)
        except TimeoutError:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            log(logging.WARNING, "Cloud SQL does not answer yet; a job's network may need a minute")
