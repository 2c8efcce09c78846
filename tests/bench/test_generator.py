"""The generator sends every request once and counts what came back, whatever a server does to its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loadtest.generator import generate, read_requests, write_requests
from loadtest.payloads import checkouts, post

CONNECTIONS = 8
REQUESTS = 200
SECONDS_MAX = 60.0  # a run ends with its last answer, long before
Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request with what the test says; knows how often it was sent which."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.bodies: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r", 1)[0])
                self.bodies.append(await reader.readexactly(length))
                await self._answer(len(self.bodies), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Server, int]]:
    server = Server(answer)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    async with listener:
        yield server, listener.sockets[0].getsockname()[1]


def body(number: int) -> bytes:
    return b'{"number":%d}' % number


def numbered(count: int = REQUESTS) -> list[bytes]:
    return [post("/", body(number), {}) for number in range(count)]


async def run(port: int, requests: list[bytes]) -> dict[str, Any]:
    return await generate(port, requests, CONNECTIONS, warmup=0.0, seconds=SECONDS_MAX)


def reply(status: str, body: bytes = b"{}") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def test_every_request_is_sent_once_and_every_answer_counted_by_its_status() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(reply("503 No" if number % 4 == 0 else "202 Accepted"))

    async with serving(answer) as (server, port):
        result = await run(port, numbered())
    assert result["statuses"] == {"202": REQUESTS * 3 // 4, "503": REQUESTS // 4}
    assert sorted(server.bodies) == sorted(body(number) for number in range(REQUESTS))


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        text = reply("200 OK", b"x" * 100)
        for piece in (text[:7], text[7:60], text[60:110], text[110:]):
            writer.write(piece)
            for _ in range(5):  # turns of the event loop, in which the client reads this piece alone
                await asyncio.sleep(0)

    async with serving(answer) as (server, port):
        result = await run(port, numbered())
    assert result["statuses"] == {"200": REQUESTS}
    assert len(server.bodies) == REQUESTS


async def test_an_answer_without_a_body_needs_no_length() -> None:
    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(answer) as (_server, port):
        assert (await run(port, numbered()))["statuses"] == {"204": REQUESTS}


async def test_a_lost_connection_is_counted_and_made_anew() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number % 10 == 0:
            writer.close()
        else:
            writer.write(reply("202 Accepted"))

    async with serving(answer) as (server, port):
        result = await run(port, numbered())
    assert result["statuses"] == {"202": REQUESTS * 9 // 10, "lost": REQUESTS // 10}
    assert len(server.bodies) == REQUESTS


async def test_the_warm_up_is_not_in_the_rate_but_in_the_statuses() -> None:
    warm = asyncio.Event()

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number > REQUESTS // 2:
            await warm.wait()
        writer.write(reply("202 Accepted"))

    async with serving(answer) as (_server, port):
        asyncio.get_running_loop().call_later(1.5, warm.set)
        result = await generate(port, numbered(), CONNECTIONS, warmup=1.0, seconds=SECONDS_MAX)
    assert result["statuses"] == {"202": REQUESTS}
    assert REQUESTS // 2 <= result["answers"] < REQUESTS


def test_requests_survive_the_file_that_carries_them(tmp_path: Path) -> None:
    requests = [b"", b"\r\n\r\n", *checkouts("drop", ["A", "B"], 50)]
    write_requests(tmp_path / "requests", requests)
    assert read_requests(tmp_path / "requests") == requests
    assert len(set(requests)) == 52
