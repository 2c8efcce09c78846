"""Wake charge_order: somebody has to be charged, or must not be charged any more."""

from __future__ import annotations

from common.messages import WAKE_UP
from common.publisher import Message, Publisher, PublishFailed


async def wake_charge_order(publisher: Publisher) -> bool:
    """Publish a wake-up on the topic payments; false if it can't be, and reconcile has to do it."""
    try:
        await publisher.publish([Message.of(WAKE_UP, {})])
    except PublishFailed:
        return False
    return True
