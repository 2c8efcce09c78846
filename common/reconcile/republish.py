"""Publish again what stays accepted: its message was never published, or got lost on the way."""

from __future__ import annotations

import asyncio
import logging

from common.batching import Overloaded
from common.contracts import ClaimBounds, OrderMessage, OrderRef
from common.database import Database
from common.logs import log
from common.publisher import Message, Publisher, PublishFailed
from common.reconcile.step import Outcome
from common.settings import RECONCILE_PAUSE_SECONDS, REPUBLISH_AFTER_SECONDS, REPUBLISH_PAUSE_SECONDS_MAX


async def run_once(
    database: Database, publisher: Publisher, limit: int, after_seconds: int = REPUBLISH_AFTER_SECONDS
) -> Outcome:
    """Publish up to `limit` orders that wait for longer than `after_seconds`; two runs at once share them out.

    Counts how many were `claimed` and `published`; what could not be published is due again at once.
    """
    bounds: ClaimBounds = {
        "limit": limit,
        "after_seconds": after_seconds,
        "pause_seconds_max": REPUBLISH_PAUSE_SECONDS_MAX,
    }
    claimed: list[OrderMessage] = await database.call("claim_waiting_orders", bounds)
    results = await asyncio.gather(
        *(publisher.publish(Message.of(message, {})) for message in claimed), return_exceptions=True
    )
    failed: list[OrderRef] = []
    for message, result in zip(claimed, results, strict=True):
        if isinstance(result, PublishFailed | Overloaded):
            failed.append({"order_id": message["order_id"]})
        elif isinstance(result, BaseException):
            raise result
    if failed:
        await database.call("mark_unpublished", failed)
    counts = {"claimed": len(claimed), "published": len(claimed) - len(failed)}
    if claimed:
        log(logging.INFO, "published waiting orders again", claimed=counts["claimed"], published=counts["published"])
    if failed:
        return Outcome(counts, RECONCILE_PAUSE_SECONDS)
    return Outcome(counts, 0 if len(claimed) == limit else None)
