"""Publish again what stays accepted: its message was never published, or got lost on the way."""

from __future__ import annotations

import logging

from common.database import Database
from common.logs import log
from common.order_contracts import ClaimBounds, OrderMessage, OrderRef
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
    if not claimed:
        return Outcome({"claimed": 0, "published": 0}, None)
    try:
        await publisher.publish([Message.of(message, {}) for message in claimed])
    except PublishFailed as error:
        refs: list[OrderRef] = [{"order_id": message["order_id"]} for message in claimed]
        await database.call("mark_unpublished", refs)
        log(logging.WARNING, "waiting orders can't be published", claimed=len(claimed), cause=error)
        return Outcome({"claimed": len(claimed), "published": 0}, RECONCILE_PAUSE_SECONDS)
    log(logging.INFO, "published waiting orders again", published=len(claimed))
    return Outcome({"claimed": len(claimed), "published": len(claimed)}, 0 if len(claimed) == limit else None)
