"""Run the whole engine on this machine: every part in its order, kept running, and ended together."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.data_dir import DataDir
from local.database import DATABASE, SAMPLE_ORDER, create_database, create_sample_drop, migrate
from local.health import wait_for_health
from local.machine import LocalError, kill, port_is_free, processes_in
from local.parts import POLL_SECONDS, Part, end_leftovers
from local.postgres import OWNER, Postgres
from local.recipes import FUNCTIONS, Recipes
from local.scheduler import Scheduler
from local.stack import Stack
from local.terminal import Terminal

# Python, gRPC and PostgreSQL start within seconds; a crowded machine may need ten times that.
READY_SECONDS = 90.0
START_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Options:
    """What `merchdrop up` was asked for."""

    port: int
    data_dir: Path
    pubsub: str = "embedded"
    pubsub_faults: str | None = None
    stripe_faults: str | None = None
    instances: int = 1
    sample_drop: bool = True
    as_json: bool = False  # say that it is ready in JSON


async def run(options: Options, terminal: Terminal) -> None:
    """Run the engine until SIGINT, SIGTERM or SIGHUP; afterwards no process of it is left.

    Raises:
        LocalError: it can't start; the text says what to do.
    """
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    data_dir = DataDir(options.data_dir)
    with data_dir.locked():
        engine = Engine(options, data_dir, terminal)
        running = asyncio.create_task(engine.run())
        stopping = asyncio.create_task(asked_to_stop.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in (running, stopping):
                task.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)
            await engine.stop()


class Engine:
    """The parts, and the order in which they come and go."""

    def __init__(self, options: Options, data_dir: DataDir, terminal: Terminal) -> None:
        self._options = options
        self._data_dir = data_dir
        self._terminal = terminal
        self._parts: list[Part | Scheduler] = []
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._recorded: dict[str, dict[str, Any]] = {}
        self._end_leftovers()
        if not port_is_free(options.port):
            raise LocalError(f"port {options.port} is taken by another program; choose another with --port")
        self._recipes = self._make_recipes()
        self._stack = Stack(self._recipes)

    async def run(self) -> None:
        """Start everything, say so, and keep the files true for ever."""
        recipes = self._recipes
        pubsub = recipes.pubsub_part()  # first of all: what it needs may not be installed here
        await asyncio.to_thread(recipes.postgres.prepare)
        watching = asyncio.create_task(self._watch())
        try:
            await self._start(recipes.postgres_part())
            await create_database(recipes.postgres.url(OWNER))
            await migrate(recipes.postgres.url(DATABASE), recipes.logins())
            await self._start(pubsub, recipes.stripe_part())
            await self._start(*(recipes.function_part(name) for name in FUNCTIONS))
            await wait_for_health(recipes.url("checkout"), READY_SECONDS)
            if self._options.sample_drop:
                await create_sample_drop(recipes.postgres.url(DATABASE))
            await self._start(self._scheduler())
            self._announce()
            await watching
        finally:
            watching.cancel()

    async def stop(self) -> None:
        """End the functions first and what they stand on last, each layer at once and within seconds."""
        self._terminal.report("engine", "stopping")
        layers = [("scheduler", *FUNCTIONS), ("pubsub", "stripe", "postgres")]
        for layer in layers:
            parts = [part for part in self._parts if part.name in layer]
            for part in parts:
                part.close()
            await asyncio.gather(*(self._keepers[part.name] for part in parts), return_exceptions=True)
        self._data_dir.write_record({})
        self._data_dir.forget_stack()

    async def _start(self, *parts: Part | Scheduler) -> None:
        for part in parts:
            self._parts.append(part)
            self._keepers[part.name] = asyncio.create_task(part.keep(), name=part.name)
        try:
            async with asyncio.timeout(READY_SECONDS):
                while any(part.state != "running" for part in parts):
                    self._check()
                    await asyncio.sleep(START_POLL_SECONDS)
        except TimeoutError:
            late = ", ".join(part.name for part in parts if part.state != "running")
            raise LocalError(f"{late} did not come up within {READY_SECONDS:.0f} s; its output says why") from None

    def _check(self) -> None:
        """Fail with the error of a part that can't even be started."""
        for keeper in self._keepers.values():
            if keeper.done():
                keeper.result()

    async def _watch(self) -> None:
        """Workers come and go without a word: look at them a few times a second."""
        while True:
            self._check()
            self._changed()
            await asyncio.sleep(POLL_SECONDS)

    def _changed(self) -> None:
        self._stack.update([part for part in self._parts if isinstance(part, Part)])
        self._write_record()

    def _write_record(self) -> None:
        record = {part.name: part.record() for part in self._parts}
        if record != self._recorded:
            self._data_dir.write_record(record)
            self._recorded = record

    def _end_leftovers(self) -> None:
        """End what an engine that was killed left running, and forget what was wished of it."""
        self._data_dir.forget_stack()
        self._data_dir.clear_stopped()
        ended = [name for name, record in self._data_dir.record().items() if end_leftovers(record)]
        kill(processes_in(self._data_dir.postgres))
        self._data_dir.write_record({})
        if ended:
            self._terminal.report("engine", f"ended what an earlier engine left running: {', '.join(ended)}")

    def _make_recipes(self) -> Recipes:
        ports = {"checkout": self._options.port}
        for name in ("postgres", "pubsub", "stripe", *(name for name in FUNCTIONS if name != "checkout")):
            ports[name] = self._data_dir.port(name, set(ports.values()))
        return Recipes(
            data_dir=self._data_dir,
            terminal=self._terminal,
            changed=self._changed,
            postgres=Postgres(self._data_dir.postgres, ports["postgres"], self._data_dir.secret("postgres", 16)),
            ports=ports,
            instances=self._options.instances,
            pubsub=self._options.pubsub,
            pubsub_faults=self._options.pubsub_faults,
            stripe_faults=self._options.stripe_faults,
        )

    def _scheduler(self) -> Scheduler:
        return Scheduler(
            self._recipes.url("reconcile"),
            is_stopped=lambda: self._data_dir.is_stopped("scheduler"),
            report=lambda text: self._terminal.report("engine", text),
            changed=self._changed,
        )

    def _announce(self) -> None:
        """Tell where everything is, and last of all, on one line, that it is ready."""
        url = self._recipes.url("checkout")
        if self._options.as_json:
            self._terminal.say(json.dumps({"ready": True, **self._stack.addresses}))
            return
        lines = [
            "",
            f"  API         {url}/v1/openapi.json",
            f"  database    {self._recipes.postgres.url(DATABASE)}",
            f"  all of it   {self._data_dir.path / 'stack.json'}",
        ]
        if self._options.sample_drop:
            lines += [
                f"  on sale     {url}/v1/drops/{SAMPLE_ORDER['drop_id']}",
                "",
                "  Order a shirt:",
                f"    curl -i {url}/v1/checkout \\",
                "      -H 'Content-Type: application/json' -H 'Idempotency-Key: my-first-order' \\",
                f"      -d '{json.dumps(SAMPLE_ORDER)}'",
            ]
        self._terminal.say("\n".join([*lines, "", f"ready: {url} (Ctrl-C stops everything)"]))
