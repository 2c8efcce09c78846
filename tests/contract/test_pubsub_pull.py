"""How messages are pulled, kept for a while and acknowledged, held against both emulators."""

from __future__ import annotations

import pytest

from tests.contract.pubsub import FAST_RETRY, Queue, eventually


async def test_an_acknowledged_message_is_gone(queue: Queue) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic)
    await queue.publish(topic, "once")
    [received] = await queue.pull_some(subscription)
    assert await queue.pull(subscription) == []  # leased to whoever pulled it
    await queue.ack(subscription, received)
    assert await queue.pull(subscription) == []


@pytest.mark.parametrize("seconds", [0, 1])
async def test_a_message_given_back_or_kept_too_long_is_delivered_again(queue: Queue, seconds: int) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic, retry_policy=FAST_RETRY)
    await queue.publish(topic, "again")
    [first] = await queue.pull_some(subscription)
    await queue.give_back(subscription, first, after_seconds=seconds)
    [second] = await queue.pull_some(subscription)
    assert second.message.message_id == first.message.message_id


async def test_a_pull_brings_no_more_than_was_asked_for(queue: Queue) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic)
    ids = await queue.publish(topic, "one", "two", "three")
    first = await eventually(lambda: queue.pull(subscription, max_messages=2))
    second = await eventually(lambda: queue.pull(subscription, max_messages=2))
    assert len(first) <= 2
    assert len(second) <= 2
    pulled = [each.message.message_id for each in (*first, *second)]
    assert set(pulled) <= set(ids)
    assert len(set(pulled)) == len(pulled)
