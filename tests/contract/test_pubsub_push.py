"""How Pub/Sub pushes messages to an endpoint, held against both emulators."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.contract.pubsub import FAST_RETRY, Queue, Receiver, acked, eventually, own_queue, receiving


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


async def test_pushes_again_when_the_ack_deadline_is_over_though_the_first_push_still_runs(
    queue: Queue, receiver: Receiver
) -> None:
    finish, finished = asyncio.Event(), asyncio.Event()

    async def hang_at_first(_text: str) -> int:
        if len(receiver.bodies) == 1:
            await finish.wait()
            finished.set()
        return 204

    receiver.answer = hang_at_first
    topic = await queue.topic()
    await queue.subscribe(topic, receiver.url, ack_deadline_seconds=10, retry_policy=FAST_RETRY)
    before = time.monotonic()
    try:
        await queue.publish(topic, "slow")
        await receiver.got(2)
        waited, still_ran = time.monotonic() - before, not finished.is_set()
    finally:
        finish.set()
    await queue.publish(topic, "next")
    await receiver.got(3)
    assert receiver.texts == ["slow", "slow", "next"]
    assert waited >= 10
    assert still_ran


async def test_a_message_of_attributes_alone_is_pushed_and_pulled(queue: Queue, receiver: Receiver) -> None:
    topic = await queue.topic()
    pulled = await queue.subscribe(topic)
    await queue.subscribe(topic, receiver.url)
    await queue.publish(topic, "", attributes={"wake": "up"})
    await receiver.got(1)
    [received] = await queue.pull_some(pulled)
    assert receiver.texts == [""]
    assert receiver.bodies[0]["message"]["attributes"] == {"wake": "up"}
    assert (received.message.data, dict(received.message.attributes)) == (b"", {"wake": "up"})


async def test_push_config_decides_between_push_and_pull(queue: Queue, receiver: Receiver) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic)
    await queue.publish(topic, "waits")
    await queue.push_to(subscription, receiver.url)
    await receiver.got(1)
    found = await queue.subscriber.get_subscription(subscription=subscription)
    assert found.push_config.push_endpoint == receiver.url


async def test_a_push_under_way_goes_to_the_new_endpoint_when_the_old_one_is_given_up(receiver: Receiver) -> None:
    finish = asyncio.Event()

    async def hang(_text: str) -> int:
        await finish.wait()
        return 204

    async with own_queue() as queue, receiving() as hanging:
        hanging.answer = hang
        topic = await queue.topic()
        subscription = await queue.subscribe(topic, hanging.url, ack_deadline_seconds=600, retry_policy=FAST_RETRY)
        await queue.publish(topic, "stuck")
        await hanging.got(1)
        await queue.push_to(subscription, receiver.url)
        await receiver.got(1)
        finish.set()
    assert (hanging.texts, receiver.texts) == (["stuck"], ["stuck"])


async def test_every_acknowledging_status_counts(tmp_path: Path, receiver: Receiver) -> None:
    async def answer_as_the_message_says(text: str) -> int:
        return int(text)

    receiver.answer = answer_as_the_message_says
    journal = tmp_path / "journal"
    async with own_queue("--journal", str(journal)) as queue:
        topic = await queue.topic()
        await queue.subscribe(topic, receiver.url, retry_policy=FAST_RETRY)
        await queue.publish(topic, "102", "200", "201", "202", "204")

        async def all_acked() -> bool:
            return acked(journal) == 5

        await eventually(all_acked)
    assert sorted(receiver.texts) == ["102", "200", "201", "202", "204"]
    assert {body["deliveryAttempt"] for body in receiver.bodies} == {1}
