"""Ways to Stripe and to PostgreSQL that know what crosses them, and tell of it before and after it is carried out.

A crossing is a request and its answer: `create`, `confirm`, … to Stripe; to PostgreSQL the call of a SQL function, and
of settle_payments also what it writes down, as in `settle_payments created`.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol
from urllib.parse import urlsplit

from local.machine import HOST, free_port

Side = Literal["before", "after"]

WAIT_SECONDS = 30.0
CHUNK_BYTES = 65_536
_READY = b"Z\x00\x00\x00\x05I"  # PostgreSQL waits for the next command: the last one is committed
_SSL_REQUEST = (80877103).to_bytes(4)
_OUTCOME = re.compile(rb'"outcome":"(\w+)"')
_CALLED = re.compile(rb"SELECT (\w+)\(\$1::jsonb\)")


class Border(Protocol):
    """Who is told; to say yes is to let nothing through any more, in any direction."""

    def crossed(self, name: str, side: Side) -> bool:
        """A crossing has come: `before` it is handed on, or `after` it was carried out."""
        ...


class Cut(Exception):
    """The crossing ends here."""


async def _across_http(border: Border, client: _Stream, server: _Stream) -> None:
    while (head := await client.head()) is not None:
        method, path = head.split(b" ", 2)[:2]
        request = head + await client.body(head)
        name = _stripe_call(method.decode(), path.decode())
        await _cross(border, name, lambda request=request: _exchange(request, server), client)  # type: ignore[misc]


async def _exchange(request: bytes, server: _Stream) -> bytes:
    server.send(request)
    head = await server.head()
    if head is None:
        raise Cut
    return head + await server.body(head)


def _stripe_call(method: str, path: str) -> str:
    parts = urlsplit(path).path.split("/")[2:]
    if parts[0] == "refunds":
        return "refund" if method == "POST" else "list refunds"
    if method == "GET":
        return "retrieve"
    return parts[2] if len(parts) > 2 else "create"


async def _across_postgres(border: Border, client: _Stream, server: _Stream) -> None:
    """Follow PostgreSQL's own protocol, as far as it takes to see which prepared statement is run with what."""
    statements: dict[bytes, str] = {}
    while (start := await client.startup()) is not None and start[4:8] == _SSL_REQUEST:
        server.send(start)
        client.send(await server.exactly(1))
    if start is None:
        return
    server.send(start)
    answers = asyncio.create_task(_pump(server, client))
    try:
        while (message := await client.message()) is not None:
            if message[:1] == b"P":
                name, query = message[5:].split(b"\0", 2)[:2]
                if found := _CALLED.search(query):
                    statements[name] = found[1].decode()
            called = statements.get(message[5:].split(b"\0", 2)[1]) if message[:1] == b"B" else None
            if called is None:
                server.send(message)
                continue
            if called == "settle_payments" and (outcome := _OUTCOME.search(message)):
                called += f" {outcome[1].decode()}"
            while message[-5:] != b"S\x00\x00\x00\x04":
                message += await client.message() or b""
            answers.cancel()
            await asyncio.wait([answers])
            await _cross(border, called, lambda message=message: _run(message, server), client)  # type: ignore[misc]
            answers = asyncio.create_task(_pump(server, client))
    finally:
        answers.cancel()


async def _run(message: bytes, server: _Stream) -> bytes:
    server.send(message)
    answer = b""
    while not answer.endswith(_READY):
        answer += await server.some()
    return answer


async def _cross(border: Border, name: str, carry_out: Callable[[], Awaitable[bytes]], client: _Stream) -> None:
    if border.crossed(name, "before"):
        raise Cut
    answer = await carry_out()
    if border.crossed(name, "after"):
        raise Cut
    client.send(answer)


async def _pump(source: _Stream, target: _Stream) -> None:
    try:
        while True:
            target.send(await source.some())
    except (Cut, OSError):
        target.writer.transport.abort()


class _Stream:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def some(self) -> bytes:
        if not (data := await self._reader.read(CHUNK_BYTES)):
            raise Cut
        return data

    async def exactly(self, count: int) -> bytes:
        return await self._reader.readexactly(count)

    async def startup(self) -> bytes | None:
        try:
            length = await self.exactly(4)
        except asyncio.IncompleteReadError:
            return None
        return length + await self.exactly(int.from_bytes(length) - 4)

    async def message(self) -> bytes | None:
        try:
            head = await self.exactly(5)
        except asyncio.IncompleteReadError:
            return None
        return head + await self.exactly(int.from_bytes(head[1:]) - 4)

    async def head(self) -> bytes | None:
        try:
            return await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None

    async def body(self, head: bytes) -> bytes:
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        return await self.exactly(int(length[1])) if length else b""


@contextmanager
def border_way(kind: Literal["stripe", "postgres"], target_port: int, border: Border) -> Iterator[int]:
    """A way to a port of this machine, for as long as the block lasts; its own port."""
    loop, port = asyncio.new_event_loop(), free_port()
    across = _across_http if kind == "stripe" else _across_postgres
    closing, listening = asyncio.Event(), threading.Event()
    passing: set[asyncio.Task[None] | None] = set()

    async def passer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing.add(asyncio.current_task())
        target_writer = None
        try:
            target_reader, target_writer = await asyncio.open_connection(HOST, target_port)
            await across(border, _Stream(reader, writer), _Stream(target_reader, target_writer))
        except (Cut, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            passing.discard(asyncio.current_task())
            for end in filter(None, (writer, target_writer)):
                end.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(passer, HOST, port)
        listening.set()
        await closing.wait()
        server.close()
        for task in filter(None, list(passing)):
            task.cancel()
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert listening.wait(WAIT_SECONDS)
        yield port
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(WAIT_SECONDS)
        loop.close()
