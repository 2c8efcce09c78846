"""Take in what Pub/Sub gave up on: what can be done by now is done, what never can is recorded.

Only while the database is well: a dead letter waits for days in its subscription, and there is no place behind it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from common.database import Database
from common.logs import log
from common.messages import Delivery
from common.puller import Pulled, Puller, PullFailed
from common.reconcile.step import Outcome
from common.settings import RECONCILE_PAUSE_SECONDS

Handle = Callable[[Delivery], Awaitable[bool]]  # what a message's own function does with it; false: not now


async def run_once(database: Database, sources: Mapping[Puller, Handle], limit: int) -> Outcome:
    """Take in up to `limit` messages of each subscription, counted as `taken_in`; what was not is `left` there.

    Raises:
        DatabaseUnavailable: nothing was pulled.
    """
    await database.read("SELECT 1")
    counts = {"taken_in": 0, "left": 0}
    try:
        for done, left in await asyncio.gather(*(_take_in(*source, limit) for source in sources.items())):
            counts["taken_in"] += done
            counts["left"] += left
    except PullFailed as error:
        log(logging.WARNING, "dead letters can't be pulled", cause=error)
        return Outcome(counts, RECONCILE_PAUSE_SECONDS)
    if any(counts.values()):
        log(logging.WARNING, "took in dead letters", taken_in=counts["taken_in"], left=counts["left"])
    if counts["left"]:
        return Outcome(counts, RECONCILE_PAUSE_SECONDS)
    return Outcome(counts, 0 if counts["taken_in"] else None)


async def handled(handle: Handle, delivery: Delivery) -> bool:
    """Whether a message is done with. One that breaks its function is not, and is in nobody's way."""
    try:
        return await handle(delivery)
    except Exception as error:  # whatever it is, it must not take the others' acknowledgement away
        log(logging.ERROR, "a message can't be handled", error=error, message_id=delivery.message_id)
        return False


async def _take_in(puller: Puller, handle: Handle, limit: int) -> tuple[int, int]:
    """How many messages were done with, and how many were given back."""
    pulled = await puller.pull(limit)
    are_done = await asyncio.gather(*(handled(handle, one.delivery) for one in pulled))
    done: list[Pulled] = [one for one, is_done in zip(pulled, are_done, strict=True) if is_done]
    left: list[Pulled] = [one for one, is_done in zip(pulled, are_done, strict=True) if not is_done]
    await puller.acknowledge(done)
    await puller.give_back(left)
    return len(done), len(left)
