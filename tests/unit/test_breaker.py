"""The breaker: one probe at a time, when one is due, beside those who ask; only after a lull they wait for it."""

from __future__ import annotations

import asyncio

import pytest

from common import breaker as module
from common.breaker import Breaker
from common.settings import BREAKER_LULL_SECONDS, BREAKER_PAUSE_SECONDS

HANG_SECONDS = 5.0


class Part:
    """A part whose probe ends when the test says so, and a clock that moves when the test says so."""

    def __init__(self) -> None:
        self.probes = 0
        self.verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.now = 1_000.0

    async def probe(self) -> None:
        self.probes += 1
        await self.verdict

    async def end_probe(self, error: Exception | None = None) -> None:
        if error:
            self.verdict.set_exception(error)
        else:
            self.verdict.set_result(None)
        self.verdict = asyncio.get_running_loop().create_future()
        await settle()

    def monotonic(self) -> float:
        return self.now


async def ask(breaker: Breaker) -> bool:
    """What the breaker says, without waiting for a probe that is under way."""
    return await asyncio.wait_for(breaker.is_open(), HANG_SECONDS)


async def settle() -> None:
    """Let every task go on until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def part(monkeypatch: pytest.MonkeyPatch) -> Part:
    part = Part()
    monkeypatch.setattr(module, "time", part)
    return part


async def test_a_part_that_is_well_is_never_probed(part: Part) -> None:
    breaker = Breaker("part", part.probe)
    assert not await ask(breaker)
    assert part.probes == 0


async def test_everybody_is_told_at_once_and_one_probe_looks(part: Part) -> None:
    breaker = Breaker("part", part.probe)
    breaker.trip("cause")
    assert await ask(breaker)
    assert part.probes == 0  # it failed a moment ago

    part.now += BREAKER_PAUSE_SECONDS
    assert await asyncio.gather(*(ask(breaker) for _ in range(100))) == [True] * 100
    assert part.probes == 1
    await part.end_probe()
    assert not await ask(breaker)
    assert part.probes == 1


async def test_a_probe_that_fails_is_repeated_after_a_pause(part: Part) -> None:
    breaker = Breaker("part", part.probe)
    breaker.trip("cause")
    part.now += BREAKER_PAUSE_SECONDS
    assert await ask(breaker)
    await settle()
    await part.end_probe(OSError())
    assert await ask(breaker)
    await settle()
    assert part.probes == 1

    part.now += BREAKER_PAUSE_SECONDS
    assert await ask(breaker)
    await settle()
    assert part.probes == 2
    await part.end_probe()
    assert not await ask(breaker)


async def test_after_a_lull_all_who_come_wait_for_one_probe(part: Part) -> None:
    breaker = Breaker("part", part.probe)
    breaker.trip("cause")
    part.now += BREAKER_PAUSE_SECONDS + BREAKER_LULL_SECONDS
    asking = [asyncio.create_task(breaker.is_open()) for _ in range(3)]
    await settle()
    assert not any(task.done() for task in asking)
    await part.end_probe()
    assert await asyncio.gather(*asking) == [False] * 3
    assert part.probes == 1


async def test_after_a_lull_a_failing_probe_is_the_answer(part: Part) -> None:
    breaker = Breaker("part", part.probe)
    breaker.trip("cause")
    part.now += BREAKER_PAUSE_SECONDS + BREAKER_LULL_SECONDS
    asking = asyncio.create_task(breaker.is_open())
    await settle()
    await part.end_probe(OSError())
    assert await asking
    assert await ask(breaker)
    assert part.probes == 1


async def test_who_hangs_up_after_a_lull_does_not_end_the_probe(part: Part) -> None:
    breaker = Breaker("part", part.probe)
    breaker.trip("cause")
    part.now += BREAKER_PAUSE_SECONDS + BREAKER_LULL_SECONDS
    asking = asyncio.create_task(breaker.is_open())
    await settle()
    asking.cancel()
    await settle()
    await part.end_probe()
    assert not await ask(breaker)
    assert part.probes == 1


async def test_the_pause_is_counted_from_the_latest_failure(part: Part) -> None:
    breaker = Breaker("part", part.probe)
    breaker.trip("cause")
    part.now += BREAKER_PAUSE_SECONDS / 2
    breaker.trip("another request of the same moment")
    part.now += BREAKER_PAUSE_SECONDS / 2
    assert await ask(breaker)
    await settle()
    assert part.probes == 0
