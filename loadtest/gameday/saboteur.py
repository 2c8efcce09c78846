"""Carries out the schedule, and makes everything whole again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp
import psutil
import psycopg

from loadtest.gameday.diary import Diary
from loadtest.gameday.schedule import Fault
from loadtest.gameday.stage import Stage

CALL_SECONDS = 3.0
HEAL_SECONDS = 60.0
HEAL_PAUSE_SECONDS = 0.3
# Gone at once, without a word to anybody; but PostgreSQL, on SIGQUIT, tells its own processes first.
_SIGNALS = {"kill": signal.SIGKILL, "crash": signal.SIGQUIT}
_CUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'merchdrop'"


@dataclass(frozen=True)
class Done:
    """What became of a fault: from when to when it was in force, and what was found."""

    fault: Fault
    began: float
    ended: float
    note: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self.fault), "began": round(self.began, 3), "ended": round(self.ended, 3), "note": self.note}


class Saboteur:
    """Breaks one engine."""

    def __init__(self, stage: Stage, diary: Diary) -> None:
        self._stage, self._diary = stage, diary
        self.done: list[Done] = []

    async def run(self, faults: Sequence[Fault]) -> None:
        """All faults, each at its time."""
        await asyncio.gather(*(self._carry_out(fault) for fault in faults))

    async def _carry_out(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.at - self._diary.now()))
        began = self._diary.now()
        match fault.kind:
            case "kill" | "crash":
                note = self._kill(fault)
            case "cut":
                note = await asyncio.to_thread(self._cut)
            case "away":
                self._stage.data_dir.stop(fault.target)
                await asyncio.sleep(fault.seconds)
                self._stage.data_dir.start(fault.target)
                note = ""
            case _:
                note = await self._set_stripe_faults(fault.shares)
                await asyncio.sleep(fault.seconds)
                await self._set_stripe_faults({})
        self.done.append(Done(fault, began, self._diary.now(), note))

    def _kill(self, fault: Fault) -> str:
        process = self._stage.process(fault.target)
        if process is None:
            return "it was down already"
        with suppress(psutil.NoSuchProcess):
            process.send_signal(_SIGNALS[fault.kind])
        return ""

    def _cut(self) -> str:
        try:
            with psycopg.connect(self._stage.stack()["database_url"], connect_timeout=2) as connection:
                row = connection.execute(_CUT).fetchone()
                return f"{row[0] if row else 0} connections"
        except psycopg.Error:
            return "PostgreSQL was away"

    async def _set_stripe_faults(self, shares: dict[str, float]) -> str:
        """In place of those before; the stand-in may be down just now, and forgets them when it is killed."""
        url = f"{self._stage.stack()['stripe_url']}/_control/faults"
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(url, json=shares, raise_for_status=True),
            ):
                return ""
        except (aiohttp.ClientError, TimeoutError, OSError):
            return "the stand-in was down"

    async def heal(self) -> str:
        """Wait until the provider behaves and every part is there again; what is not after HEAL_SECONDS, in words."""
        deadline = self._diary.now() + HEAL_SECONDS
        while (missing := await self._missing()) and self._diary.now() < deadline:  # noqa: ASYNC110 (nothing signals)
            await asyncio.sleep(HEAL_PAUSE_SECONDS)
        return missing

    async def _missing(self) -> str:
        parts = self._stage.data_dir.record()
        down = [f"{name} is {part['state']}" for name, part in parts.items() if part["state"] != "running"]
        return ", ".join([*down, *filter(None, [await self._set_stripe_faults({})])])
