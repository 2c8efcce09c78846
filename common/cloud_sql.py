"""Connections to Cloud SQL through its connector: a certificate of an hour, and a login as the function's own account.

The connector is made on first use, on the event loop of the worker process, once a process: made before the fork, its
thread would be gone. It refreshes its certificate only when somebody connects (lazily), because between requests a
function has no CPU. Importing it takes half a second, so that waits for the first use as well.
"""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg

from common.logs import log
from common.settings import CLOUD_SQL_CONNECT_SECONDS, DATABASE_CONNECT_SECONDS, DATABASE_NAME, CloudSqlLogin

if TYPE_CHECKING:
    from google.cloud.sql.connector import Connector


class CloudSqlRefused(ConnectionError):
    """The Admin API refused, there are no credentials, or the instance is another one; its cause says what."""


class CloudSql:
    """Opens connections to one instance. Use it from one event loop only."""

    def __init__(self, login: CloudSqlLogin) -> None:
        self._login = login
        self._connector: Connector | None = None
        self._is_closed = False

    async def connect(
        self, server_settings: dict[str, str], command_seconds: float | None = None
    ) -> asyncpg.Connection[asyncpg.Record]:
        """A new connection, whose commands take `command_seconds` at most.

        A caller who is cancelled leaves the attempt to end by itself: the next one needs its certificate.

        Raises:
            TimeoutError: not within CLOUD_SQL_CONNECT_SECONDS, or PostgreSQL did not answer.
            CloudSqlRefused: whatever is wrong will be so in a moment, too.
            OSError, asyncpg.PostgresError: as a direct connection does.
        """
        attempt = asyncio.create_task(self._attempt(server_settings, command_seconds))
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(_cut)
            raise

    async def close(self) -> None:
        """Let go of the connector, for good: attempts under way, and later ones, fail."""
        self._is_closed = True
        await self._discard_connector()

    async def _discard_connector(self) -> None:
        connector, self._connector = self._connector, None
        if connector is not None:
            await connector.close_async()

    async def _attempt(
        self, server_settings: dict[str, str], command_seconds: float | None
    ) -> asyncpg.Connection[asyncpg.Record]:
        try:
            async with asyncio.timeout(CLOUD_SQL_CONNECT_SECONDS):
                connection: asyncpg.Connection[asyncpg.Record] = await self._connect(server_settings, command_seconds)
                return connection
        except (TimeoutError, asyncio.CancelledError) as error:
            # A connector that was cut short while it made its key waits for that key for ever, and passes the
            # cancellation on to everybody who uses it.
            await self._discard_connector()
            raise TimeoutError from error

    async def _connect(self, server_settings: dict[str, str], command_seconds: float | None) -> Any:
        from google.cloud.sql.connector import Connector

        if self._is_closed:
            raise ConnectionError("closed")
        try:
            if self._connector is None:
                self._connector = Connector(
                    ip_type="PRIVATE",
                    enable_iam_auth=True,
                    refresh_strategy="lazy",
                    loop=asyncio.get_running_loop(),
                    sqladmin_api_endpoint=self._login.api_base or None,
                )
            return await self._connector.connect_async(
                self._login.instance,
                "asyncpg",
                user=self._login.user,
                db=DATABASE_NAME,
                timeout=DATABASE_CONNECT_SECONDS,
                server_settings=server_settings,
                command_timeout=command_seconds,
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            raise
        except Exception as error:  # the connector's own errors, its HTTP client's, those of Google's credentials
            log(logging.ERROR, "Cloud SQL refused a connection", cause=error, instance=self._login.instance)
            raise CloudSqlRefused(f"Cloud SQL refused ({error})") from error


@lru_cache
def cloud_sql(login: CloudSqlLogin) -> CloudSql:
    """The process's one CloudSql of an instance: whoever has a pool of their own shares the certificate."""
    return CloudSql(login)


def _cut(attempt: asyncio.Task[asyncpg.Connection[asyncpg.Record]]) -> None:
    """Nobody waits for this connection any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()
