"""What the engine relies on in Pub/Sub when it publishes and administers, held against both emulators."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from google.api_core.exceptions import AlreadyExists, BadRequest, InvalidArgument, NotFound
from google.pubsub_v1.types import DeadLetterPolicy

from local.topology import ensure_topology
from tests.contract.pubsub import PROJECT, Queue


async def test_lists_and_deletes(queue: Queue) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic)
    assert topic in [found.name async for found in await queue.publisher.list_topics(project=PROJECT)]
    subscriptions = await queue.subscriber.list_subscriptions(project=PROJECT)
    assert subscription in [found.name async for found in subscriptions]
    await queue.subscriber.delete_subscription(subscription=subscription)
    await queue.publisher.delete_topic(topic=topic)
    with pytest.raises(NotFound):
        await queue.subscriber.get_subscription(subscription=subscription)
    with pytest.raises(NotFound):
        await queue.publisher.get_topic(topic=topic)


async def test_refuses_what_exists_is_missing_or_is_malformed(queue: Queue) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic)
    missing = f"{PROJECT}/topics/missing"
    with pytest.raises(AlreadyExists):
        await queue.publisher.create_topic(name=topic)
    with pytest.raises(AlreadyExists):
        await queue.subscriber.create_subscription(name=subscription, topic=topic)
    with pytest.raises(NotFound):
        await queue.publish(missing, "lost")
    with pytest.raises(NotFound):
        await queue.subscribe(missing)
    with pytest.raises(NotFound):
        await queue.subscriber.pull(subscription=f"{PROJECT}/subscriptions/missing", max_messages=1)
    with pytest.raises(InvalidArgument):
        await queue.publisher.create_topic(name="no-topic-name")
    with pytest.raises(InvalidArgument):
        await queue.publish(topic, "")
    with pytest.raises(InvalidArgument):
        await queue.subscribe(topic, ack_deadline_seconds=601)
    too_few = DeadLetterPolicy(dead_letter_topic=topic, max_delivery_attempts=4)
    with pytest.raises(BadRequest):  # INVALID_ARGUMENT; Google's emulator says OUT_OF_RANGE
        await queue.subscribe(topic, dead_letter_policy=too_few)


async def test_the_topology_can_be_ensured_again_and_follows_the_function(emulator: str, queue: Queue) -> None:
    project = f"project-{uuid4().hex[:8]}"
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:2"):
        endpoints = {"process-order": url, "charge-order": "http://127.0.0.1:3"}
        await asyncio.to_thread(ensure_topology, emulator, project, endpoints)
    subscriptions = await queue.subscriber.list_subscriptions(project=f"projects/{project}")
    found = {subscription.name.rpartition("/")[2]: subscription async for subscription in subscriptions}
    pulled = {"orders-dead-letter", "payments-dead-letter", "order-events"}
    assert set(found) == {"process-order", "charge-order", *pulled}
    assert {name for name, one in found.items() if one.enable_message_ordering} == {"order-events"}
    pushed = found["process-order"]
    assert pushed.push_config.push_endpoint == "http://127.0.0.1:2"
    assert pushed.ack_deadline_seconds == 60
    assert (pushed.retry_policy.minimum_backoff.seconds, pushed.retry_policy.maximum_backoff.seconds) == (1, 5)
    assert pushed.dead_letter_policy.max_delivery_attempts == 100
    assert pushed.dead_letter_policy.dead_letter_topic == f"projects/{project}/topics/orders-dead-letter"
    assert found["orders-dead-letter"].push_config.push_endpoint == ""
