"""Try rejected messages again, because a person asked for it: `merchdrop messages retry`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from common.database import Database
from common.event_contracts import FinishedRetries, TriedMessage
from common.logs import log
from common.messages import Delivery
from common.reconcile.dead_letters import Handle, handled
from common.reconcile.step import Outcome
from common.settings import RECONCILE_PAUSE_SECONDS

_ASKED = (
    "SELECT id, topic, retry_at, body FROM shown_messages WHERE retry_at IS NOT NULL AND topic = ANY ($1)"
    " ORDER BY retry_at LIMIT $2"
)


async def run_once(database: Database, handlers: Mapping[str, Handle], limit: int) -> Outcome:
    """Try up to `limit` messages, by their topics, counted as `tried`; those that succeeded are `finished`, and gone.

    A message counts as published when it was asked for: that is when the person wants its order to be judged.
    """
    rows = await database.read(_ASKED, list(handlers), limit)
    are_tried = await asyncio.gather(
        *(
            handled(handlers[row["topic"]], Delivery(row["id"], row["retry_at"].isoformat(), row["body"].encode()))
            for row in rows
        )
    )
    tried: list[TriedMessage] = [
        {"id": row["id"], "retry_at": row["retry_at"].isoformat()}
        for row, is_tried in zip(rows, are_tried, strict=True)
        if is_tried
    ]
    if not tried:
        return Outcome({"tried": 0, "finished": 0}, RECONCILE_PAUSE_SECONDS if rows else None)
    done: FinishedRetries = await database.call("finish_retries", tried)
    log(logging.INFO, "tried rejected messages again", tried=len(tried), finished=done["finished"])
    return Outcome({"tried": len(tried), "finished": done["finished"]}, 0)
