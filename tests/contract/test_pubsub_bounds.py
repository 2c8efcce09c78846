"""Our own emulator holds what its bounds allow and no more, and says what to do then."""

from __future__ import annotations

import asyncio

import grpc
import psutil
import pytest
from google.api_core.exceptions import InvalidArgument, ResourceExhausted
from google.pubsub_v1 import types

from local.machine import HOST, free_port
from local.pubsub_checks import Refused, check_messages
from local.pubsub_faults import Faults
from local.pubsub_limits import (
    ATTRIBUTE_NAME_BYTES_MAX,
    ATTRIBUTE_VALUE_BYTES_MAX,
    ATTRIBUTES_MAX,
    BACKLOG_BYTES_MAX,
    BACKLOG_MESSAGES_MAX,
    CALLS_MAX,
    DUPLICATES_MAX,
    ORDERING_KEY_BYTES_MAX,
    PUBLISH_BYTES_MAX,
    PUBLISH_MESSAGES_MAX,
    PULL_BYTES_MAX,
    SUBSCRIPTIONS_MAX,
    TOPICS_MAX,
)
from local.pubsub_server import Service
from local.pubsub_store import Store
from tests.contract.pubsub import PROJECT, Queue, connected, embedded, own_queue, running

# What local/pubsub_limits.py says that a full backlog takes, whose messages are larger than those here.
MEMORY_BYTES_MAX = 400_000_000
LARGE = "x" * 9_000_000  # 12 MB as JSON holds it


async def publish_small(queue: Queue, topic: str, count: int) -> None:
    """Publish messages of attributes alone, in as few calls as possible."""
    for start in range(0, count, PUBLISH_MESSAGES_MAX):
        batch = min(PUBLISH_MESSAGES_MAX, count - start)
        request = types.PublishRequest(topic=topic, messages=[{"attributes": {"n": "1"}}] * batch)
        await queue.publisher.publish(request=request, retry=None)


async def test_a_backlog_holds_so_many_messages_and_takes_more_once_some_are_acknowledged() -> None:
    port = free_port()
    with running(embedded(port), port) as process:
        async with connected(f"{HOST}:{port}") as queue:
            await fill_the_backlog(queue)
        assert psutil.Process(process.pid).memory_info().rss < MEMORY_BYTES_MAX


async def fill_the_backlog(queue: Queue) -> None:
    topic, other = await queue.topic(), await queue.topic()
    subscription = await queue.subscribe(topic)
    await queue.subscribe(other)
    await publish_small(queue, topic, BACKLOG_MESSAGES_MAX - 1)
    with pytest.raises(ResourceExhausted, match="is full") as refused:
        await queue.publish(topic, "one too", "many")  # neither of the two is kept
    await queue.publish(topic, "the last one")
    with pytest.raises(ResourceExhausted):
        await queue.publish(topic, "one too many")
    await queue.publish(other, "somebody else's")
    pulled = await queue.pull_some(subscription)
    await queue.ack(subscription, *pulled)
    await publish_small(queue, topic, len(pulled))
    with pytest.raises(ResourceExhausted):
        await queue.publish(topic, "one too many")
    assert subscription in str(refused.value)
    assert f"{BACKLOG_MESSAGES_MAX - 1} messages" in str(refused.value)
    assert "Let its subscriber acknowledge them, or delete the subscription; then publish again." in str(refused.value)


async def test_a_backlog_holds_so_many_bytes_and_takes_more_once_the_subscription_is_gone() -> None:
    async with own_queue() as queue:
        topic = await queue.topic()
        subscription = await queue.subscribe(topic)
        for _ in range(BACKLOG_BYTES_MAX // (len(LARGE) * 4 // 3)):
            await queue.publish(topic, LARGE)
        with pytest.raises(ResourceExhausted, match=f"{BACKLOG_BYTES_MAX}. Let its subscriber"):
            await queue.publish(topic, LARGE)
        await queue.subscriber.delete_subscription(subscription=subscription)
        await queue.subscribe(topic)
        await queue.publish(topic, LARGE)


async def test_a_publish_call_that_is_too_large_is_refused() -> None:
    async with own_queue() as queue:
        topic = await queue.topic()
        await queue.publish(topic, "x", ordering_key="k" * ORDERING_KEY_BYTES_MAX)
        with pytest.raises(InvalidArgument, match="ordering key"):
            await queue.publish(topic, "x", ordering_key="k" * (ORDERING_KEY_BYTES_MAX + 1))
        with pytest.raises(InvalidArgument, match=f"at most {PUBLISH_BYTES_MAX}"):
            await queue.publish(topic, "x" * PUBLISH_BYTES_MAX)
        await publish_small(queue, topic, PUBLISH_MESSAGES_MAX)
        with pytest.raises(InvalidArgument, match=f"1 to {PUBLISH_MESSAGES_MAX} messages"):
            await queue.publish(topic, *["x"] * (PUBLISH_MESSAGES_MAX + 1))


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        ({str(n): "" for n in range(ATTRIBUTES_MAX)}, {str(n): "" for n in range(ATTRIBUTES_MAX + 1)}),
        ({"n" * ATTRIBUTE_NAME_BYTES_MAX: ""}, {"n" * (ATTRIBUTE_NAME_BYTES_MAX + 1): ""}),
        ({"trace": "v" * ATTRIBUTE_VALUE_BYTES_MAX}, {"trace": "v" * (ATTRIBUTE_VALUE_BYTES_MAX - 1) + "ü"}),
    ],
)
def test_attributes_that_pub_sub_would_refuse_are_refused(fits: dict[str, str], too_much: dict[str, str]) -> None:
    def publish_call(attributes: dict[str, str]) -> object:
        request: object = types.PublishRequest.pb()(messages=[{"data": b"x"}, {"attributes": attributes}])
        return request

    check_messages(publish_call(fits))
    with pytest.raises(Refused, match="attribute") as refused:
        check_messages(publish_call(too_much))
    assert refused.value.code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_pull_brings_so_many_bytes() -> None:
    async with own_queue() as queue:
        topic = await queue.topic()
        subscription = await queue.subscribe(topic)
        for _ in range(5):
            await queue.publish(topic, "x" * (PULL_BYTES_MAX // 4))  # with base64, a third of the bound
        assert [len(await queue.pull_some(subscription)) for _ in range(3)] == [2, 2, 1]


async def test_so_many_duplicates_wait_and_later_messages_come_once() -> None:
    originals = DUPLICATES_MAX + PUBLISH_MESSAGES_MAX
    async with own_queue("--faults", "duplicate=1") as queue:
        topic = await queue.topic()
        subscription = await queue.subscribe(topic)
        await publish_small(queue, topic, originals)
        pulled = 0
        while received := await queue.pull(subscription, max_messages=1_000):
            pulled += len(received)
        assert pulled == originals + DUPLICATES_MAX
        await queue.publish(topic, "twice again")
        assert len(await queue.pull_some(subscription)) == 2


async def test_so_many_calls_are_under_way_at_once() -> None:
    async with own_queue() as queue:
        subscription = await queue.subscribe(await queue.topic())
        pulls = [queue.pull(subscription) for _ in range(CALLS_MAX + 50)]
        results = await asyncio.gather(*pulls, return_exceptions=True)
        refused = [result for result in results if isinstance(result, ResourceExhausted)]
        assert 0 < len(refused) <= 50
        assert await queue.pull(subscription) == []


async def test_there_are_so_many_topics_and_subscriptions() -> None:
    store = Store(None)
    service = Service(store, Faults())
    for number in range(TOPICS_MAX):
        store.add_topic(f"{PROJECT}/topics/t{number:06}")
    with pytest.raises(Refused, match="delete some") as refused:
        await service.create_topic(types.Topic.pb()(name=f"{PROJECT}/topics/more"))
    assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED

    def wanted(name: str) -> object:
        pb: object = types.Subscription.pb()(name=f"{PROJECT}/subscriptions/{name}", topic=f"{PROJECT}/topics/t000000")
        return pb

    for number in range(SUBSCRIPTIONS_MAX):
        await service.create_subscription(wanted(f"s{number:06}"))
    with pytest.raises(Refused, match="delete some"):
        await service.create_subscription(wanted("more"))
