"""Publish again what stays accepted: its message was never published, or got lost on the way."""

from __future__ import annotations

import asyncio
import logging

from common.batching import Overloaded
from common.contracts import ClaimBounds, OrderMessage
from common.database import Database
from common.logs import log
from common.publisher import Message, Publisher, PublishFailed
from common.settings import REPUBLISH_AFTER_SECONDS, REPUBLISH_PAUSE_SECONDS_MAX


async def run_once(
    database: Database, publisher: Publisher, limit: int, after_seconds: int = REPUBLISH_AFTER_SECONDS
) -> dict[str, int]:
    """Publish up to `limit` orders that wait for longer than `after_seconds`; two runs at once share them out.

    Returns how many were `claimed` and `published`; one that could not be published is claimed again after a pause.
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
    failures = [result for result in results if isinstance(result, BaseException)]
    if unexpected := [error for error in failures if not isinstance(error, (PublishFailed, Overloaded))]:
        raise unexpected[0]
    counts = {"claimed": len(claimed), "published": len(claimed) - len(failures)}
    if claimed:
        log(logging.INFO, "published waiting orders again", claimed=counts["claimed"], published=counts["published"])
    return counts
