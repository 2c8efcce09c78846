"""How Pub/Sub pushes messages to an endpoint, held against both emulators."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from google.pubsub_v1.types import PushConfig

from local.machine import HOST, free_port
from tests.contract.pubsub import FAST_RETRY, Queue, Receiver, acked, connected, embedded, eventually, running


async def test_pushes_what_was_published(queue: Queue, receiver: Receiver) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic, receiver.url)
    [message_id] = await queue.publish(topic, "hello", attributes={"trace": "1"})
    await receiver.got(1)
    [body] = receiver.bodies
    message = body["message"]
    assert body["subscription"] == subscription
    assert (message["messageId"], message["message_id"]) == (message_id, message_id)
    assert message["publishTime"] == message["publish_time"]
    assert message["attributes"] == {"trace": "1"}
    assert receiver.texts == ["hello"]
    assert receiver.content_types == {"application/json"}


async def test_every_subscription_gets_every_message(queue: Queue, receiver: Receiver) -> None:
    topic = await queue.topic()
    pulled = await queue.subscribe(topic)
    await queue.subscribe(topic, receiver.url)
    texts = [f"message {number}" for number in range(50)]
    await queue.publish(topic, *texts)
    await receiver.got(50)
    assert sorted(receiver.texts) == sorted(texts)
    assert await queue.pull_some(pulled)


async def test_pushes_again_until_the_endpoint_accepts(queue: Queue, receiver: Receiver) -> None:
    async def fail_three_times(_text: str) -> int:
        return 500 if len(receiver.bodies) <= 3 else 204

    receiver.answer = fail_three_times
    topic = await queue.topic()
    await queue.subscribe(topic, receiver.url, retry_policy=FAST_RETRY)
    ids = await queue.publish(topic, "stubborn")
    await receiver.got(4)
    await queue.publish(topic, "next")
    await receiver.got(5)
    assert receiver.texts == ["stubborn"] * 4 + ["next"]
    assert {body["message"]["messageId"] for body in receiver.bodies[:4]} == set(ids)


async def test_a_slow_push_does_not_hold_up_the_next_message(queue: Queue, receiver: Receiver) -> None:
    finish = asyncio.Event()

    async def hang_on_slow(text: str) -> int:
        if text == "slow":
            await finish.wait()
        return 204

    receiver.answer = hang_on_slow
    topic = await queue.topic()
    await queue.subscribe(topic, receiver.url, ack_deadline_seconds=60)
    try:
        await queue.publish(topic, "slow")
        await receiver.got(1)
        await queue.publish(topic, "quick")
        await receiver.got(2)
    finally:
        finish.set()
    assert receiver.texts == ["slow", "quick"]


async def test_push_config_decides_between_push_and_pull(queue: Queue, receiver: Receiver) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic)
    await queue.publish(topic, "waits")
    await queue.subscriber.modify_push_config(
        subscription=subscription, push_config=PushConfig(push_endpoint=receiver.url)
    )
    await receiver.got(1)
    found = await queue.subscriber.get_subscription(subscription=subscription)
    assert found.push_config.push_endpoint == receiver.url


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_acknowledging_status_counts(tmp_path: Path, receiver: Receiver, status: int) -> None:
    async def accept(_text: str) -> int:
        return status

    receiver.answer = accept
    port, journal = free_port(), tmp_path / "journal"
    with running(embedded(port, "--journal", str(journal)), port):
        async with connected(f"{HOST}:{port}") as queue:
            topic = await queue.topic()
            await queue.subscribe(topic, receiver.url, retry_policy=FAST_RETRY)
            await queue.publish(topic, "accepted")

            async def is_acked() -> bool:
                return acked(journal) == 1

            await eventually(is_acked)
    assert [body["deliveryAttempt"] for body in receiver.bodies] == [1]
