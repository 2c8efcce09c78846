"""The push requests of the Pub/Sub emulator: HTTP/1.1 over connections that are kept.

aiohttp's client takes seven times the processor time for each request (125 against 18 µs), and the emulator shares its
cores with the engine that it serves. This one knows one kind of request, and reads of an answer nothing but the status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import httptools

from local.pubsub_limits import CONNECTION_IDLE_SECONDS

PROCESSING = 102  # an interim answer of HTTP, but Pub/Sub takes it as a final one

Done = Callable[[int | None], None]  # told the status, or None if none came in time


class Endpoint:
    """Where one subscription pushes to; as many requests at once as its owner sends, a connection for each."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for what is no http URL."""
        parts = urlsplit(url)
        is_plain = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
            raise ValueError(f"not an http URL: {url!r}")
        self._is_secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._is_secure else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = f"Host: {parts.netloc.rpartition('@')[2]}\r\nContent-Type: application/json\r\nContent-Length: "
        self._head = f"POST {target} HTTP/1.1\r\n{fields}".encode()
        self.url = url
        self.idle: list[_Connection] = []  # the last one used is the last one here
        self.open: set[_Connection] = set()
        self._connecting: set[asyncio.Task[_Connection]] = set()

    def post(self, body: bytes, seconds: float, done: Done) -> None:
        """Send a request, and call `done` once it is answered, or failed, or `seconds` are over."""
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        now = asyncio.get_running_loop().time()
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open() and now - connection.idle_since < CONNECTION_IDLE_SECONDS:
                connection.send(request, now + seconds, done)
                return
            connection.abort()
        task = asyncio.create_task(self._connect(now + seconds))
        self._connecting.add(task)
        task.add_done_callback(partial(self._end_connecting, request, now + seconds, done))

    def close(self) -> None:
        """End all connections; requests under way get no answer."""
        for task in self._connecting:
            task.cancel()
        for connection in list(self.open):
            connection.abort()

    async def _connect(self, deadline: float) -> _Connection:
        async with asyncio.timeout_at(deadline):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), self._host, self._port, ssl=self._is_secure or None
            )
        return connection

    def _end_connecting(self, request: bytes, deadline: float, done: Done, task: asyncio.Task[_Connection]) -> None:
        self._connecting.discard(task)
        # Whatever went wrong, nobody is there; and who was there may be gone by now.
        if task.cancelled() or task.exception() or not task.result().is_open():
            done(None)
        else:
            task.result().send(request, deadline, done)


class _Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._done: Done | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._endpoint.open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._endpoint.open.discard(self)
        if self in self._endpoint.idle:
            self._endpoint.idle.remove(self)
        if self._done:  # an answer without a length ends here
            self._finish(self._status)

    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def send(self, request: bytes, deadline: float, done: Done) -> None:
        self._done, self._status, self._is_answered = done, 0, False
        self._parser = httptools.HttpResponseParser(self)
        self._timer = asyncio.get_running_loop().call_at(deadline, self._give_up)
        self._transport.write(request)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._done is None:  # nobody asked
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up()
            return
        if self._is_answered:
            if self._parser.should_keep_alive() and self._status != PROCESSING:
                self.idle_since = asyncio.get_running_loop().time()
                self._endpoint.idle.append(self)
            else:
                self._transport.close()
            self._finish(self._status)

    def on_headers_complete(self) -> None:
        """Called by the parser; an answer that nobody asked for may follow the one that counts."""
        if not self._is_answered:
            self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        """Called by the parser, for interim answers as well."""
        self._is_answered = self._status >= 200 or self._status == PROCESSING

    def _give_up(self) -> None:
        self.abort()
        self._finish(None)

    def _finish(self, status: int | None) -> None:
        assert self._done
        self._timer.cancel()
        done, self._done = self._done, None
        done(status)
