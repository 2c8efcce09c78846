"""What every figure stands on: a durable PostgreSQL with both sides' tables, the queue, proxies, and their costs."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import psycopg
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from sqlalchemy import create_engine

from common.settings import ORDERS_TOPIC, PAYMENTS_TOPIC
from loadtest.baselines.store import metadata
from loadtest.serving import BenchError, Server, cpu_seconds, process
from local.database import DATABASE, create_database, login_of, migrate
from local.machine import HOST, free_port, processes_in
from local.postgres import OWNER, Postgres, start_postgres
from local.recipes import FUNCTIONS, PROJECT, ROOT
from local.topology import CALL_SECONDS

BASELINE_DATABASE = "baseline"
# Room for the baselines' pools, all open at once: two drivers, directly and through a proxy, 128 threads each.
MAX_CONNECTIONS = 600
ORDER_ID_SECRET = "5a" * 32
PASSWORD = "bench"  # noqa: S105 — of logins that live as long as the bench
READY_SECONDS = 30.0
PINGS = 300


@dataclass(frozen=True)
class Proxy:
    """A running proxy in front of PostgreSQL."""

    port: int
    _process: subprocess.Popen[str]

    def round_trips(self) -> int:
        """Round trips so far."""
        return self._ask("")

    def set_delay(self, milliseconds: float) -> None:
        """The delay in each direction from now on."""
        self._ask(str(milliseconds))

    def _ask(self, line: str) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@dataclass(frozen=True)
class Lab:
    """The machinery of a run of the bench."""

    directory: Path
    postgres: Postgres
    queue: Server
    _numbers: Iterator[int] = field(default_factory=count, repr=False)

    def new_id(self, what: str) -> str:
        """A drop's id that nobody had before."""
        return f"{what}-{next(self._numbers)}"

    def connect(self, database: str, port: int | None = None) -> closing[psycopg.Connection[Any]]:
        """A connection of the owner, each statement a transaction."""
        return closing(psycopg.connect(through(self.postgres.url(database), port), autocommit=True))

    def postgres_cpu_seconds(self) -> float:
        """Processor time of the server and all its backends so far."""
        return cpu_seconds(processes_in(self.postgres.directory))

    def engine_environment(self, function: str, port: int | None = None) -> dict[str, str]:
        """The settings of one of the engine's functions, its database at `port` (a proxy's) or directly."""
        url = self.postgres.url(DATABASE, login_of(function), PASSWORD)
        return {
            **self._queue_environment(),
            "MERCHDROP_DATABASE_URL": through(url, port),
            "MERCHDROP_ORDER_ID_SECRETS": json.dumps({"1": ORDER_ID_SECRET}),
        }

    def baseline_environment(self, driver: str, threads: int, port: int | None = None) -> dict[str, str]:
        """The settings of a baseline's function: as many threads, and connections, as requests at a time."""
        url = self.postgres.url(BASELINE_DATABASE).replace("postgresql:", f"postgresql+{driver}:")
        return {
            **self._queue_environment(),
            "BASELINE_DATABASE_URL": through(url, port),
            "THREADS": str(threads),
        }

    def _queue_environment(self) -> dict[str, str]:
        return {"PUBSUB_EMULATOR_HOST": f"{HOST}:{self.queue.port}", "MERCHDROP_PROJECT": PROJECT}

    @contextmanager
    def proxy(self, round_trip_ms: float) -> Iterator[Proxy]:
        """A proxy that makes a round trip so much longer, as measured."""
        port = free_port()
        command = [sys.executable, "-m", "loadtest.proxy", "--listen", str(port), "--to", str(self.postgres.port)]
        command += ["--delay-ms", str(round_trip_ms / 2)]
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        with subprocess.Popen(command, start_new_session=True, **options) as started:
            assert started.stdout
            if started.stdout.readline() != "listening\n":
                raise BenchError("the proxy did not start; what it printed above says why")
            proxy = Proxy(port, started)
            if round_trip_ms:
                # waking up takes time as well: what is measured must be what was asked for
                excess = self.ping_ms(port) - self.ping_ms() - round_trip_ms
                proxy.set_delay(max(0.0, (round_trip_ms - excess) / 2))
            yield proxy

    def ping_ms(self, port: int | None = None) -> float:
        """The median of many round trips to PostgreSQL, one at a time."""
        with self.connect(OWNER, port) as connection:
            times = []
            for _ in range(PINGS):
                started = time.perf_counter()
                connection.execute("SELECT 1", prepare=False)
                times.append(1000 * (time.perf_counter() - started))
        return statistics.median(times)


def through(url: str, port: int | None) -> str:
    """The same database, reached at another port."""
    return url if port is None else f"{url.rpartition(':')[0]}:{port}/{url.rpartition('/')[2]}"


@contextmanager
def make_lab() -> Iterator[Lab]:
    """Start everything, with tables on both sides and the topic; end everything with the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="merchdrop-bench-")))
        settings = {"max_connections": str(MAX_CONNECTIONS)}
        postgres = stack.enter_context(start_postgres(directory, settings))
        asyncio.run(_make_databases(postgres))
        yield Lab(directory, postgres, stack.enter_context(_queue(directory)))


async def _make_databases(postgres: Postgres) -> None:
    await create_database(postgres.url(OWNER))
    await migrate(postgres.url(DATABASE), dict.fromkeys(FUNCTIONS, PASSWORD))
    with closing(psycopg.connect(postgres.url(OWNER), autocommit=True)) as connection:
        connection.execute(f"CREATE DATABASE {BASELINE_DATABASE}")
    engine = create_engine(postgres.url(BASELINE_DATABASE).replace("postgresql:", "postgresql+psycopg:"))
    metadata.create_all(engine)
    engine.dispose()


@contextmanager
def _queue(directory: Path) -> Iterator[Server]:
    """The embedded emulator with the topic, and nobody who listens."""
    port = free_port()
    command = [sys.executable, "-m", "local.pubsub", "--port", str(port)]
    log = directory / "pubsub.log"
    with process(command, log, {}) as started:
        _create_topics(f"{HOST}:{port}")
        yield Server(port, started.pid, log)


def _create_topics(host: str) -> None:
    with grpc.insecure_channel(host) as channel:
        try:
            grpc.channel_ready_future(channel).result(READY_SECONDS)
        except grpc.FutureTimeoutError:
            raise BenchError(f"the queue did not come up in {READY_SECONDS:.0f} s") from None
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        for topic in (ORDERS_TOPIC, PAYMENTS_TOPIC):
            publisher.create_topic(name=f"projects/{PROJECT}/topics/{topic}", timeout=CALL_SECONDS)
