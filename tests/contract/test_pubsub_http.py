"""How our own emulator speaks HTTP to a push endpoint, against a server that answers byte by byte as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from local import pubsub_push
from local.machine import HOST, free_port
from local.pubsub_push import Endpoint
from tests.contract.pubsub import eventually

ANSWER_SECONDS = 20.0  # far less than what requests are given here
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Server:
    """Answers each request with the same bytes; remembers requests and who is connected."""

    def __init__(self, answer: bytes, *, hangs_up: bool = False) -> None:
        self._answer, self._hangs_up = answer, hangs_up
        self.requests: list[bytes] = []
        self.connections = 0
        self.connected = 0

    async def is_left(self) -> bool:
        return self.connected == 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.connected += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self._answer)
                if self._hangs_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connected -= 1
            writer.close()


@asynccontextmanager
async def serving(answer: bytes, *, hangs_up: bool = False) -> AsyncIterator[tuple[Server, Endpoint]]:
    server = Server(answer, hangs_up=hangs_up)
    listener = await asyncio.start_server(server.serve, HOST, 0)
    endpoint = Endpoint(f"http://{HOST}:{listener.sockets[0].getsockname()[1]}/orders?from=queue")
    try:
        yield server, endpoint
    finally:
        endpoint.close()
        await eventually(server.is_left)
        listener.close()
        await listener.wait_closed()


async def post(endpoint: Endpoint, body: bytes = b"{}", seconds: float = 60.0) -> int | None:
    status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    endpoint.post(body, seconds, status.set_result)
    return await asyncio.wait_for(status, ANSWER_SECONDS)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (OK, 204),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 500),
        (b"HTTP/1.1 102 Processing\r\n\r\n", 102),
        (b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", 301),
        (b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n", 204),
        (b"this is no HTTP\r\n\r\n", None),
    ],
)
async def test_takes_the_status_from_any_answer(answer: bytes, status: int | None) -> None:
    async with serving(answer) as (server, endpoint):
        assert await post(endpoint, b'{"message":1}') == status
        assert server.requests == [
            b"POST /orders?from=queue HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
            b'Content-Length: 13\r\n\r\n{"message":1}' % endpoint.url.split("/")[2].encode()
        ]


@pytest.mark.parametrize(
    ("answer", "status"), [(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200), (b"", 0), (b"HTTP/1.1 20", 0)]
)
async def test_takes_the_end_of_the_connection_for_the_end_of_the_answer(answer: bytes, status: int) -> None:
    async with serving(answer, hangs_up=True) as (_, endpoint):
        assert await post(endpoint) == status


async def test_keeps_a_connection_for_the_next_request() -> None:
    async with serving(OK) as (server, endpoint):
        assert [await post(endpoint) for _ in range(5)] == [204] * 5
        assert (len(server.requests), server.connections) == (5, 1)
        assert await asyncio.gather(*(post(endpoint) for _ in range(5))) == [204] * 5
        assert server.connections == 5


async def test_does_not_use_a_connection_that_was_idle_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_push, "CONNECTION_IDLE_SECONDS", 0.0)
    async with serving(OK) as (server, endpoint):
        assert [await post(endpoint) for _ in range(3)] == [204] * 3
        assert server.connections == 3


@pytest.mark.parametrize("answer", [OK, OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
async def test_does_not_use_a_connection_that_the_server_closed(answer: bytes) -> None:
    async with serving(answer, hangs_up=True) as (server, endpoint):
        for number in range(1, 4):
            assert await post(endpoint) == 204

            async def is_closed() -> bool:
                return not endpoint.open

            await eventually(is_closed)
            assert server.connections == number


async def test_gives_up_in_time_and_hangs_up() -> None:
    async with serving(b"") as (server, endpoint):
        assert await post(endpoint, seconds=0.2) is None
        await eventually(server.is_left)


async def test_nobody_there_is_no_answer() -> None:
    assert await post(Endpoint(f"http://{HOST}:{free_port()}/")) is None


async def test_a_closed_endpoint_answers_for_what_is_under_way() -> None:
    async with serving(b"") as (server, endpoint):
        answering = asyncio.create_task(post(endpoint))

        async def arrived() -> bool:
            return bool(server.requests)

        await eventually(arrived)
        endpoint.close()
        assert not await answering


async def test_a_closed_endpoint_answers_for_what_has_not_connected_yet() -> None:
    async with serving(OK) as (_, endpoint):
        status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        endpoint.post(b"{}", 60.0, status.set_result)
        endpoint.close()
        assert await asyncio.wait_for(status, ANSWER_SECONDS) is None


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "http:///path", "http://127.0.0.1:99999/", "http://127.0.0.1/a b", "http://127.0.0.1/ü", "x"],
)
def test_refuses_what_is_no_http_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        Endpoint(url)
