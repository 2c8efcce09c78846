"""Calls reconcile once a minute, in Cloud Scheduler's place; it can be stopped and started like the other parts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from local.parts import POLL_SECONDS

INTERVAL_SECONDS = 60.0
CALL_SECONDS = 55.0  # less than the interval, so that two calls never overlap


@dataclass
class Scheduler:
    """When it calls next, and whether it may."""

    url: str
    is_stopped: Callable[[], bool]
    report: Callable[[str], None]
    changed: Callable[[], None]

    name: str = "scheduler"
    state: str = "starting"
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Call at once, and then in each interval, until it is closed."""
        due = time.monotonic()
        call: asyncio.Task[None] | None = None
        while not self.closing.is_set():
            if self.is_stopped():
                await _end(call)
                self._set("stopped")
            else:
                self._set("running")
                if time.monotonic() >= due:
                    due = time.monotonic() + INTERVAL_SECONDS
                    call = asyncio.create_task(self._call())
            with suppress(TimeoutError):
                await asyncio.wait_for(self.closing.wait(), POLL_SECONDS)
        await _end(call)

    def close(self) -> None:
        """Let `keep` end."""
        self.closing.set()

    def record(self) -> dict[str, Any]:
        """As a part's; there is no process to be ended."""
        return {"state": self.state}

    async def _call(self) -> None:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
                session.post(self.url),
            ):
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            self.report(f"reconcile did not run; it is called again: {type(error).__name__} {error}")

    def _set(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.changed()


async def _end(call: asyncio.Task[None] | None) -> None:
    if call is not None:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
