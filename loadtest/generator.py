"""The load generator: requests that were written beforehand, over persistent connections, in a process of its own.

Each connection sends its next request as soon as it has the answer to the one before. Nothing is encoded and only the
status and the length of an answer are read, so that the generator needs a small part of what a server needs.

python -m loadtest.generator --port 8080 --connections 128 --warmup 0.5 --seconds 3 REQUESTS_FILE

It prints `started` when the warm-up is over, `ended` when the time is, and then what it counted, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import click
import uvloop

HOST = "127.0.0.1"
CONNECT_SECONDS = 30.0  # a server that forks its workers may be slow to take the first connections
DRAIN_SECONDS = 30.0  # for the answers that are still due when the time is over
_LENGTH_BYTES = 4
_HEAD_END = b"\r\n\r\n"
_LENGTH_HEADER = b"\r\ncontent-length:"
_BODYLESS = frozenset({204, 304})


def write_requests(path: Path, requests: Iterable[bytes]) -> None:
    """Write requests to a file, each behind its length."""
    with path.open("wb") as file:
        for request in requests:
            file.write(len(request).to_bytes(_LENGTH_BYTES, "big") + request)


def read_requests(path: Path) -> list[bytes]:
    """The requests in a file."""
    content, requests, at = path.read_bytes(), [], 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "big")
        requests.append(content[start:at])
    return requests


class Tally:
    """What all connections send and count: in all, and since the warm-up."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = iter(requests)
        self.under_way = 0
        self.statuses: Counter[str] = Counter()
        self.latencies = array("d")
        self.measuring = self.stopped = False
        self.ended = asyncio.Event()  # nothing is under way, and nothing more will be sent
        self.ended_at = 0.0

    def next(self) -> bytes | None:
        """The next request to send, or None when it is over."""
        request = None if self.stopped else next(self._requests, None)
        if request is not None:
            self.under_way += 1
            return request
        self.stopped = True
        self._notice_end()
        return None

    def answered(self, status: str, seconds: float) -> None:
        """An answer, or what became of a request that got none."""
        self.under_way -= 1
        self.statuses[status] += 1
        if self.measuring:
            self.latencies.append(seconds)
        self._notice_end()

    def _notice_end(self) -> None:
        if self.stopped and not self.under_way and not self.ended.is_set():
            self.ended_at = time.perf_counter()
            self.ended.set()


class Connection(asyncio.Protocol):
    """One persistent connection."""

    _transport: asyncio.WriteTransport

    def __init__(self, tally: Tally, lost: asyncio.Queue[None]) -> None:
        self._tally, self._lost = tally, lost
        self._buffer = b""
        self._sent_at = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        answer = self._buffer + data if self._buffer else data
        status, length = measure(answer)
        if not status or len(answer) < length:
            self._buffer = answer
            return
        self._buffer = b""
        self._waiting = False
        self._tally.answered(status, time.perf_counter() - self._sent_at)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._tally.answered("lost", time.perf_counter() - self._sent_at)
        self._lost.put_nowait(None)

    def _send(self) -> None:
        request = self._tally.next()
        if request is None:
            self._transport.close()
            return
        self._waiting = True
        self._sent_at = time.perf_counter()
        self._transport.write(request)


def measure(answer: bytes) -> tuple[str, int]:
    """An answer's status and its length in bytes; no status while its head is not complete."""
    end = answer.find(_HEAD_END)
    if end < 0:
        return "", 0
    status = answer[9:12].decode()
    head = answer[:end].lower() + b"\r"
    start = head.find(_LENGTH_HEADER)
    if start < 0:
        if int(status) not in _BODYLESS:
            raise ValueError(f"an answer {status} without Content-Length can't be measured")
        return status, end + len(_HEAD_END)
    start += len(_LENGTH_HEADER)
    return status, end + len(_HEAD_END) + int(head[start : head.index(b"\r", start)])


async def generate(port: int, requests: list[bytes], connections: int, warmup: float, seconds: float) -> dict[str, Any]:
    """Send until the time is over or the requests run out; what was counted after the warm-up.

    Returns `seconds`, `answers` (after the warm-up), `statuses` (of all, so that what the server stored can be checked
    against it), `p50_ms`, `p99_ms` and `cpu_seconds` of this process after the warm-up.
    """
    tally = Tally(requests)
    connecting = asyncio.create_task(_keep_connected(tally, port, connections))
    await _wait(tally, connecting, warmup)
    print("started", flush=True)
    started, cpu = time.perf_counter(), time.process_time()
    tally.measuring = True
    await _wait(tally, connecting, seconds)
    tally.measuring = False
    tally.stopped = True
    ended, cpu = tally.ended_at or time.perf_counter(), time.process_time() - cpu
    print("ended", flush=True)
    await _wait(tally, connecting, DRAIN_SECONDS)
    connecting.cancel()
    if tally.under_way:
        tally.statuses["unanswered"] = tally.under_way
    latencies = sorted(tally.latencies) or [0.0]
    return {
        "seconds": ended - started,
        "answers": len(tally.latencies),
        "statuses": dict(tally.statuses),
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[len(latencies) * 99 // 100],
        "cpu_seconds": cpu,
    }


async def _keep_connected(tally: Tally, port: int, connections: int) -> None:
    """Make the connections, and another one for each that is lost."""
    lost: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        lost.put_nowait(None)
    while True:
        await lost.get()
        if not tally.stopped:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: Connection(tally, lost), HOST, port)


async def _wait(tally: Tally, connecting: asyncio.Task[None], seconds: float) -> None:
    """Wait so long, or until the last request is answered; raise what the connecting raised."""
    ended = asyncio.create_task(tally.ended.wait())
    await asyncio.wait({ended, connecting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if connecting.done():
        connecting.result()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--connections", type=int, required=True)
@click.option("--warmup", type=float, required=True)
@click.option("--seconds", type=float, required=True)
@click.argument("requests", type=click.Path(path_type=Path, exists=True))
def main(port: int, connections: int, warmup: float, seconds: float, requests: Path) -> None:
    """Send the requests in a file to a server on this machine."""
    result = uvloop.run(generate(port, read_requests(requests), connections, warmup, seconds))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
