"""When Pub/Sub gives up on a message, held against both emulators."""

from __future__ import annotations

from google.pubsub_v1.types import DeadLetterPolicy

from tests.contract.pubsub import FAST_RETRY, Queue, Receiver


async def test_gives_up_on_a_message_to_the_dead_letters(queue: Queue, receiver: Receiver) -> None:
    async def refuse(_text: str) -> int:
        return 500

    receiver.answer = refuse
    topic, dead_letters = await queue.topic(), await queue.topic()
    pulled = await queue.subscribe(dead_letters)
    policy = DeadLetterPolicy(dead_letter_topic=dead_letters, max_delivery_attempts=5)
    source = await queue.subscribe(topic, receiver.url, retry_policy=FAST_RETRY, dead_letter_policy=policy)
    await queue.publish(topic, "poison", attributes={"trace": "1"})
    [received] = await queue.pull_some(pulled)
    attributes = dict(received.message.attributes)
    assert received.message.data == b"poison"
    assert attributes["trace"] == "1"
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == source.rpartition("/")[2]
    assert attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] == "contract"
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"
    assert attributes["CloudPubSubDeadLetterSourceTopicPublishTime"].endswith("Z")
    assert receiver.texts == ["poison"] * 5
