"""Parts that a test can take away: a PostgreSQL and a queue that stop and come back, and a way that falls silent."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import grpc
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import ReceivedMessage

from local.machine import free_port
from local.postgres import Postgres
from local.recipes import PROJECT, ROOT
from local.topology import ensure_topology

T = TypeVar("T")

BACK_SECONDS = 30.0
POLL_SECONDS = 0.02
CHUNK_BYTES = 65_536
COPIES = f"projects/{PROJECT}/subscriptions/copies"


def eventually(look: Callable[[], T], seconds: float = BACK_SECONDS) -> T:
    """What `look` sees, as soon as it sees something."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"nothing to see after {seconds} s"
        time.sleep(POLL_SECONDS)
    return seen


async def awaited(look: Callable[[], Awaitable[T]], seconds: float = BACK_SECONDS) -> T:
    """What the coroutine `look` sees, as soon as it sees something."""
    async with asyncio.timeout(seconds):
        while not (seen := await look()):  # noqa: ASYNC110 (nothing could signal)
            await asyncio.sleep(POLL_SECONDS)
    return seen


class Server:
    """A PostgreSQL of the test's own, on one port for all its lives."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.postgres = Postgres(directory / "postgres", free_port(), "secret", settings)
        self.postgres.prepare()
        self._log = directory / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.postgres.clear_leftovers()
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self.postgres.command(), stdout=output, stderr=output, **self.postgres.process_options()
            )
        eventually(self.postgres.is_ready)

    def stop(self) -> None:
        """Stop it at once, as a crash does; what was committed is there after the next start."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(BACK_SECONDS)
            self._process = None


class Queue:
    """A Pub/Sub emulator of the test's own, on one port for all its lives; its journal keeps what it has taken."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.journal = directory / "pubsub.journal"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "local.pubsub", "--port", str(self.port), "--journal", str(self.journal)]
        self._process = subprocess.Popen(command, cwd=ROOT)
        with self._channel() as channel:
            grpc.channel_ready_future(channel).result(BACK_SECONDS)

    def deliver_to(self, url: str) -> None:
        """Push orders to a function, and keep a copy of each for `published`."""
        ensure_topology(self.host, PROJECT, {"process-order": url, "charge-order": "http://127.0.0.1:1"})
        with self._channel() as channel:
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)).create_subscription(
                name=COPIES, topic=f"projects/{PROJECT}/topics/orders"
            )

    def published(self) -> list[bytes]:
        """What was published since the last look, oldest first."""
        return [one.message.data for one in self.take(COPIES)]

    def take(self, subscription: str) -> list[ReceivedMessage]:
        """All messages that wait to be pulled, taken out of their subscription."""
        with self._channel() as channel:
            subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
            seen: list[ReceivedMessage] = []
            while pulled := subscriber.pull(subscription=subscription, max_messages=1_000).received_messages:
                subscriber.acknowledge(subscription=subscription, ack_ids=[one.ack_id for one in pulled])
                seen += pulled
        return seen

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.host, options=[("grpc.max_reconnect_backoff_ms", 100)])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(BACK_SECONDS)
            self._process = None


class Way:
    """A TCP way to a server's port. While it is silent it accepts connections and passes nothing on, in any direction.

    A connection that was open, or made, while the way was silent stays silent for ever, as after a failover.
    """

    def __init__(self, target_port: int, port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.port = port
        self.connections = 0  # all that were ever made
        self._target_port, self._loop = target_port, loop
        self._silent = False
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def silence(self) -> None:
        """Nothing comes through any more."""
        self._run(silent=True, cut=True)

    def fail_over(self) -> None:
        """Connections that stand fall silent; new ones work."""
        self._run(silent=False, cut=True)

    def restore(self) -> None:
        """New connections work again."""
        self._run(silent=False, cut=False)

    def _run(self, *, silent: bool, cut: bool) -> None:
        done = threading.Event()

        def change() -> None:
            self._silent = silent
            for pump in self._pumps if cut else ():
                pump.cancel()
            done.set()

        self._loop.call_soon_threadsafe(change)
        assert done.wait(BACK_SECONDS)

    async def serve(self, closing: asyncio.Event, listening: threading.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        listening.set()
        await closing.wait()
        server.close()
        for pump in self._pumps:
            pump.cancel()
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        if self._silent:
            return
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(target_writer)
        for source, target in ((reader, target_writer), (target_reader, writer)):
            pump = asyncio.create_task(_pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes, and the end of it. (Cancelled, it leaves both ends open and says nothing.)"""
    try:
        while chunk := await source.read(CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
    except OSError:
        pass
    target.transport.abort()


@contextmanager
def way_to(port: int) -> Iterator[Way]:
    """A way to a port of this machine, for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    closing, listening = asyncio.Event(), threading.Event()
    way = Way(port, free_port(), loop)
    thread = threading.Thread(target=loop.run_until_complete, args=(way.serve(closing, listening),))
    thread.start()
    try:
        assert listening.wait(BACK_SECONDS)
        yield way
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(BACK_SECONDS)
        loop.close()
