"""Batching: requests gather while a flush is under way, bad items fail alone, and the queue is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from common.batching import BadItem, Batcher, Overloaded


class Flush:
    """A flush that can be held up, and that refuses negative numbers."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started, self.gate = asyncio.Event(), asyncio.Event()

    async def __call__(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        self.started.set()
        await self.gate.wait()
        if min(batch) < 0:
            raise BadItem("negative") from ValueError("what the database said")
        return [item * 2 for item in batch]


async def test_what_arrives_during_a_flush_goes_together() -> None:
    flush = Flush()
    batcher = Batcher(flush, batch_max=100, queue_max=100, flushes_max=1)
    first = asyncio.create_task(batcher.submit(0))
    await flush.started.wait()
    rest = [asyncio.create_task(batcher.submit(item)) for item in range(1, 6)]
    await asyncio.sleep(0)
    flush.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10]
    assert flush.batches == [[0], [1, 2, 3, 4, 5]]


async def test_a_bad_item_fails_alone() -> None:
    flush = Flush()
    flush.gate.set()
    batcher = Batcher(flush, batch_max=100, queue_max=100, flushes_max=1)
    results = await asyncio.gather(*(batcher.submit(item) for item in (1, 2, -3, 4)), return_exceptions=True)
    assert [results[0], results[1], results[3]] == [2, 4, 8]
    assert isinstance(results[2], BadItem)


async def test_a_batch_belongs_to_no_single_request() -> None:
    request: ContextVar[str] = ContextVar("request", default="none")

    async def whose(batch: Sequence[int]) -> list[str]:
        return [request.get()] * len(batch)

    request.set("the first one's")
    assert await Batcher(whose, batch_max=1, queue_max=1, flushes_max=1).submit(1) == "none"


@pytest.mark.parametrize("answer", [[], [1, 2, 3], None])
async def test_a_flush_that_answers_otherwise_than_it_was_asked_leaves_nobody_waiting(answer: Any) -> None:
    async def wrong(_batch: Sequence[int]) -> Any:
        return answer

    batcher: Batcher[int, int] = Batcher(wrong, batch_max=2, queue_max=2, flushes_max=1)
    async with asyncio.timeout(10):
        results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
    assert {type(result) for result in results} <= {ValueError, TypeError}


async def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    flush = Flush()
    batcher = Batcher(flush, batch_max=1, queue_max=2, flushes_max=1)
    taken = [asyncio.create_task(batcher.submit(item)) for item in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.submit(9)
    flush.gate.set()
    assert await asyncio.gather(*taken) == [0, 2]


async def test_batches_are_bounded_by_size() -> None:
    flush = Flush()
    flush.gate.set()
    batcher = Batcher(flush, batch_max=10, queue_max=100, flushes_max=1, size=lambda item: item)
    await asyncio.gather(*(batcher.submit(item) for item in (6, 4, 1, 20, 3)))
    assert flush.batches == [[6, 4], [1], [20], [3]]


async def test_the_culprit_is_told_that_it_is_one_whatever_the_cause() -> None:
    async def flush(batch: Sequence[int]) -> list[int]:
        raise BadItem("refused") from KeyError("what the client library said")

    batcher: Batcher[int, int] = Batcher(flush, batch_max=100, queue_max=100, flushes_max=1)
    with pytest.raises(BadItem):
        await batcher.submit(1)


async def test_an_item_that_comes_as_the_worker_ends_is_not_forgotten() -> None:
    async def flush(batch: Sequence[int]) -> Sequence[int]:
        return batch

    batcher = Batcher(flush, batch_max=1, queue_max=1, flushes_max=1)
    async with asyncio.timeout(10):
        # each comes in the very turn in which the answer to the one before it wakes its sender
        assert [await batcher.submit(item) for item in range(10)] == list(range(10))
