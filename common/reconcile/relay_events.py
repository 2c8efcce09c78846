"""Publish what happened to orders, each order's events in their order, to the topic order-events.

The database hands out an order's events together and under a lease, so that two relays can't reorder them. A Publish
call carries one ordering key, as Pub/Sub wants it, so each order is a call of its own, many at once.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import groupby

from common.database import Database
from common.event_contracts import EventBounds, MarkedEvents, OrderEvent, PublishedEvents
from common.logs import log
from common.publisher import Message, Publisher, PublishFailed
from common.reconcile.step import Outcome
from common.settings import RECONCILE_PAUSE_SECONDS, RELAY_CALLS_MAX, RELAY_LEASE_SECONDS


async def run_once(
    database: Database, publisher: Publisher, limit: int, lease_seconds: int = RELAY_LEASE_SECONDS
) -> Outcome:
    """Publish the waiting events of up to `limit` orders, counted as `relayed`; two runs at once share the orders out.

    An order that could not be published counts as `held_back`, and is given back.
    """
    bounds: EventBounds = {"limit": limit, "lease_seconds": lease_seconds}
    events: list[OrderEvent] = await database.call("claim_events", bounds)
    orders = [list(group) for _, group in groupby(events, lambda event: event["order"]["order_id"])]
    if not orders:
        return Outcome({"relayed": 0, "held_back": 0}, None)
    gate = asyncio.Semaphore(RELAY_CALLS_MAX)
    published = await asyncio.gather(*(_publish(publisher, order, gate) for order in orders))
    marked: MarkedEvents = await database.call("mark_events_published", published)
    counts = {"relayed": marked["marked"], "held_back": sum(one["seq"] == 0 for one in published)}
    if counts["held_back"]:
        log(logging.WARNING, "events of orders can't be published", orders=counts["held_back"])
        return Outcome(counts, RECONCILE_PAUSE_SECONDS)
    log(logging.INFO, "published events of orders", relayed=counts["relayed"])
    return Outcome(counts, 0 if len(orders) == limit else None)


async def _publish(publisher: Publisher, events: list[OrderEvent], gate: asyncio.Semaphore) -> PublishedEvents:
    """Publish one order's events, and say how far it got."""
    order_id = events[0]["order"]["order_id"]
    try:
        async with gate:
            await publisher.publish([Message.of(event, {}, ordering_key=order_id) for event in events])
    except PublishFailed:  # the publisher tells why
        return {"order_id": order_id, "seq": 0}
    return {"order_id": order_id, "seq": events[-1]["seq"]}
