"""How messages are pulled, kept for a while and acknowledged, held against both emulators."""

from __future__ import annotations

import pytest

from tests.contract.pubsub import FAST_RETRY, Queue


async def test_an_acknowledged_message_is_gone(queue: Queue) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic)
    await queue.publish(topic, "once")
    [received] = await queue.pull_some(subscription)
    assert await queue.pull(subscription) == []  # leased to whoever pulled it
    await queue.subscriber.acknowledge(subscription=subscription, ack_ids=[received.ack_id])
    assert await queue.pull(subscription) == []


@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_message_given_back_or_kept_too_long_is_delivered_again(queue: Queue, seconds: int) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic, retry_policy=FAST_RETRY)
    await queue.publish(topic, "again")
    [first] = await queue.pull_some(subscription)
    await queue.subscriber.modify_ack_deadline(
        subscription=subscription, ack_ids=[first.ack_id], ack_deadline_seconds=seconds
    )
    [second] = await queue.pull_some(subscription)
    assert second.message.message_id == first.message.message_id
