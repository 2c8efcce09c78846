"""When Pub/Sub gives up on a message, held against both emulators; the finer points against our own one alone."""

from __future__ import annotations

from typing import Any

from google.pubsub_v1.types import DeadLetterPolicy

from tests.contract.pubsub import FAST_RETRY, Queue, Receiver, own_queue, receiving


async def refuse(_text: str) -> int:
    return 500


def patience(dead_letters: str) -> dict[str, Any]:
    """A subscription's settings: five attempts, soon one after the other."""
    policy = DeadLetterPolicy(dead_letter_topic=dead_letters, max_delivery_attempts=5)
    return {"retry_policy": FAST_RETRY, "dead_letter_policy": policy}


async def test_gives_up_on_a_pushed_message_to_the_dead_letters(queue: Queue, receiver: Receiver) -> None:
    receiver.answer = refuse
    topic, dead_letters = await queue.topic(), await queue.topic()
    pulled = await queue.subscribe(dead_letters)
    async with receiving() as mourner:
        await queue.subscribe(dead_letters, mourner.url)
        source = await queue.subscribe(topic, receiver.url, **patience(dead_letters))
        await queue.publish(topic, "poison", attributes={"trace": "1"})
        [received] = await queue.pull_some(pulled)
        await mourner.got(1)
    attributes = dict(received.message.attributes)
    assert received.message.data == b"poison"
    assert attributes["trace"] == "1"
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == source.rpartition("/")[2]
    assert attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == "contract"
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert attributes["CloudPubSubDeadLetterSourceTopicPublishTime"].endswith("Z")
    assert receiver.texts == ["poison"] * 5
    assert mourner.texts == ["poison"]
    assert mourner.bodies[0]["message"]["attributes"] == attributes


async def test_gives_up_on_a_pulled_message_which_is_then_gone() -> None:
    async with own_queue() as queue:
        topic, dead_letters = await queue.topic(), await queue.topic()
        source, pulled = await queue.subscribe(topic, **patience(dead_letters)), await queue.subscribe(dead_letters)
        await queue.publish(topic, "poison")
        for attempt in range(1, 6):
            [received] = await queue.pull_some(source)
            assert received.delivery_attempt == attempt
            await queue.give_back(source, received)
        [dead] = await queue.pull_some(pulled)
        assert dead.message.data == b"poison"
        assert await queue.pull(source) == []


async def test_a_message_stays_where_it_is_while_its_dead_letter_topic_is_gone(receiver: Receiver) -> None:
    receiver.answer = refuse
    async with own_queue() as queue:
        topic, dead_letters = await queue.topic(), await queue.topic()
        pulled = await queue.subscribe(dead_letters)
        await queue.publisher.delete_topic(topic=dead_letters)
        await queue.subscribe(topic, receiver.url, **patience(dead_letters))
        await queue.publish(topic, "poison")
        await receiver.got(7)
        await queue.topic(dead_letters.rpartition("/")[2])
        [dead] = await queue.pull_some(pulled)
    assert dead.message.data == b"poison"
    assert int(dead.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"]) >= 7


async def test_the_next_message_of_its_key_follows_a_dead_letter(receiver: Receiver) -> None:
    async def refuse_poison(text: str) -> int:
        return 500 if text == "poison" else 204

    receiver.answer = refuse_poison
    async with own_queue() as queue:
        topic, dead_letters = await queue.topic(), await queue.topic()
        pulled = await queue.subscribe(dead_letters)
        await queue.subscribe(topic, receiver.url, enable_message_ordering=True, **patience(dead_letters))
        await queue.publish(topic, "poison", "next", ordering_key="one")
        await receiver.got(6)
        [dead] = await queue.pull_some(pulled)
    assert receiver.texts == ["poison"] * 5 + ["next"]
    assert dead.message.ordering_key == "one"
