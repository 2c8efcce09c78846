"""A part of the engine: a process group that is kept running, and ended as a whole."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from local.machine import group_members, kill

POLL_SECONDS = 0.2  # how soon a wish, or another worker, is noticed
READY_POLL_SECONDS = 0.05
STOP_SECONDS = 5.0  # for a graceful end; the two layers of parts then end within ten seconds
# A part that dies after it was ready is started at once; one that dies before that, ever more slowly.
SHORTEST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
# A process's creation time is reckoned from the machine's clock, which is set right by a bit now and then.
CLOCK_SECONDS = 10.0


async def _nothing() -> None:
    return None


def _nobody() -> list[psutil.Process]:
    return []


@dataclass
class Part:
    """How to run it, and how it is doing (`state`: stopped, starting, running)."""

    name: str
    command: list[str]
    environment: dict[str, str]
    output: int
    is_ready: Callable[[], Awaitable[bool]]
    is_stopped: Callable[[], bool]
    report: Callable[[str], None]
    changed: Callable[[], None]
    prepare: Callable[[], None] = lambda: None
    after_start: Callable[[], Awaitable[None]] = _nothing
    strays: Callable[[], list[psutil.Process]] = _nobody  # processes that left the group
    # What it writes (the queue's journal holds orders) is nobody else's to read.
    options: dict[str, Any] = field(default_factory=lambda: {"start_new_session": True, "umask": 0o077})
    stop_signal: signal.Signals = signal.SIGTERM
    workers: int = 0  # of a function: its processes are the leader's children

    state: str = "stopped"
    leader: psutil.Process | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Keep it running until it is closed, whatever kills it; down only while somebody wishes it down."""
        pause = 0.0
        while not self.closing.is_set():
            if self.is_stopped():
                self._set("stopped")
                await self._wait(POLL_SECONDS)
                continue
            self._set("starting")
            was_ready = await self._live()
            if self.closing.is_set() or self.is_stopped():
                continue
            pause = 0.0 if was_ready else min(max(2 * pause, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            self.report(f"{self.name} is down; starting it again{f' in {pause:.1f} s' if pause else ''}")
            await self._wait(pause)

    def close(self) -> None:
        """Let `keep` end it for good. (Cancelling `keep` could leave a process behind.)"""
        self.closing.set()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)

    async def _live(self) -> bool:
        """One life, from start to the last process's end; whether it ever was ready."""
        self.prepare()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                **self.options,
            )
        except OSError as error:  # such as too many processes at this moment
            self.report(f"{self.name} can't be started: {error}")
            return False
        exited = asyncio.create_task(process.wait())
        becoming_ready = asyncio.create_task(self._become_ready())
        with suppress(psutil.NoSuchProcess):
            self.leader = psutil.Process(process.pid)
            self.changed()
        while not (exited.done() or self.is_stopped() or self.closing.is_set()):
            await asyncio.wait({exited}, timeout=POLL_SECONDS)
        becoming_ready.cancel()
        was_ready = self.state == "running"
        self.state = "starting"
        await self._end(process, exited)
        return was_ready

    async def _become_ready(self) -> None:
        while not await self.is_ready():  # noqa: ASYNC110 - another process gets ready, and tells nobody
            await asyncio.sleep(READY_POLL_SECONDS)
        while True:
            try:
                await self.after_start()
            except Exception as error:  # whatever it was, it has to be tried again: the part is useless without
                self.report(f"{self.name} is up, but what follows its start failed, and is tried again: {error}")
                await asyncio.sleep(1)
            else:
                return self._set("running")

    async def _end(self, process: asyncio.subprocess.Process, exited: asyncio.Task[int]) -> None:
        """Ask the leader to go if it is still there, then end whoever is left: workers outlive a killed leader."""
        if not exited.done():
            with suppress(ProcessLookupError):
                process.send_signal(self.stop_signal)
            await asyncio.wait({exited}, timeout=STOP_SECONDS)
        kill(group_members(process.pid) + self.strays())
        await exited
        self.leader = None
        self.changed()

    def _set(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.changed()

    def record(self) -> dict[str, Any]:
        """What a later supervisor needs to end what this one left behind."""
        if self.leader is None:
            return {"state": self.state}
        return {"state": self.state, "pid": self.leader.pid, "created": self.leader.create_time()}


def end_leftovers(record: dict[str, Any]) -> bool:
    """End a part that its supervisor left behind, unless its number means another process by now."""
    if "pid" not in record or record["created"] < psutil.boot_time() - CLOCK_SECONDS:
        return False
    with suppress(psutil.NoSuchProcess):
        if abs(psutil.Process(record["pid"]).create_time() - record["created"]) > CLOCK_SECONDS:
            return False
    members = group_members(record["pid"])
    kill(members)
    return bool(members)
