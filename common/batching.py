"""Group concurrent requests into one database call, without a timer.

While a flush is under way, the next requests gather; when it returns, they go together. An idle batcher flushes a lone
request at once, so nobody waits for company.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

# Turns of the event loop before a batch is cut: requests that the sockets hold already come along, where otherwise the
# first of a burst would travel alone. It takes microseconds when nothing else is there.
_GATHER_TURNS = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


class Overloaded(Exception):
    """The queue is full: nothing was taken, and it is safe to send again."""


class BadItem(Exception):
    """A batch failed on its data; raised by a flush, so that the batch is split and the culprit fails alone."""


class Batcher(Generic[Item, Result]):
    """Runs `flush` over batches of submitted items; `flush` returns one result for each item, in order.

    Bounds: `batch_max` items a flush, `queue_max` items waiting, `flushes_max` flushes under way. Use it from one event
    loop only.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        batch_max: int,
        queue_max: int,
        flushes_max: int,
        size: Callable[[Item], int] = lambda _item: 1,
    ) -> None:
        self._flush, self._size = flush, size
        self._batch_max, self._queue_max, self._flushes_max = batch_max, queue_max, flushes_max
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._workers: set[asyncio.Task[None] | None] = set()

    async def submit(self, item: Item) -> Result:
        """Hand in one item and wait for its result.

        Raises:
            Overloaded: the queue is full.
            Exception: what the flush raised for the batch, or for this item alone.
        """
        if len(self._waiting) >= self._queue_max:
            raise Overloaded
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._workers) < self._flushes_max:
            # a context of its own: what is logged of a batch is about no single request
            self._workers.add(asyncio.create_task(self._work(), context=Context()))
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                for _ in range(_GATHER_TURNS):
                    await asyncio.sleep(0)
                if self._waiting:  # another flush may have taken them meanwhile
                    await self._settle(self._take())
        finally:
            # In the same turn as the look at the queue: whoever came in a turn between would count on this worker.
            self._workers.discard(asyncio.current_task())

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch, size = [self._waiting.popleft()], 0
        size = self._size(batch[0][0])
        while self._waiting and size + self._size(self._waiting[0][0]) <= self._batch_max:
            size += self._size(self._waiting[0][0])
            batch.append(self._waiting.popleft())
        return batch

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
            settled = list(zip(batch, results, strict=True))
        except BadItem as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._settle(batch[:middle])
                await self._settle(batch[middle:])
                return
            _fail(batch, error)
        except Exception as error:
            _fail(batch, error)
        else:
            for (_, future), result in settled:
                if not future.done():  # its client may have hung up
                    future.set_result(result)


def _fail(batch: list[tuple[Item, asyncio.Future[Result]]], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
