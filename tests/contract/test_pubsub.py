"""What the engine relies on in Pub/Sub, held against both emulators; faults and the journal are our own one's alone."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import grpc
import pytest
from aiohttp import web
from google.api_core.exceptions import AlreadyExists, BadRequest, DeadlineExceeded, InvalidArgument, NotFound
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig, RetryPolicy, Subscription

from local import google_pubsub
from local.machine import HOST, free_port
from local.pubsub_delivery import Faults
from local.topology import ensure_topology

T = TypeVar("T")

WAIT_SECONDS = 40.0  # for anything; Google's emulator alone takes 13 to give up on a message
PULL_SECONDS = 2.0
POLL_SECONDS = 0.02
PROJECT = "projects/contract"
FAST_RETRY = RetryPolicy(minimum_backoff=Duration(nanos=50_000_000), maximum_backoff=Duration(nanos=100_000_000))
FAULTS = "seed=7,duplicate=0.4,delay=0.2,reorder=0.5,drop_ack=0.3"


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An emulator that answers, killed in the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            grpc.channel_ready_future(channel).result(WAIT_SECONDS)
        yield process
    finally:
        process.kill()
        process.wait()


def embedded(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "local.pubsub", "--host", HOST, "--port", str(port), *options]


@pytest.fixture(scope="module", params=["embedded", "google"])
def emulator(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where an emulator answers that all tests of this module share, each under names of its own."""
    port = free_port()
    try:
        command = embedded(port) if request.param == "embedded" else google_pubsub.command(port)
    except google_pubsub.EmulatorMissing as missing:
        pytest.skip(str(missing))
    with running(command, port):
        yield f"{HOST}:{port}"


@pytest.fixture
async def queue(emulator: str) -> AsyncIterator[Queue]:
    async with connected(emulator) as queue:
        yield queue


@asynccontextmanager
async def connected(emulator_host: str) -> AsyncIterator[Queue]:
    async with grpc.aio.insecure_channel(emulator_host) as channel:
        yield Queue(channel)


class Queue:
    """The API's clients, and the few calls that tests make."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        self.subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))

    async def topic(self) -> str:
        name = f"{PROJECT}/topics/t-{uuid4().hex}"
        await self.publisher.create_topic(name=name)
        return name

    async def subscribe(self, topic: str, push_to: str = "", **settings: Any) -> str:
        name = f"{PROJECT}/subscriptions/s-{uuid4().hex}"
        push = PushConfig(push_endpoint=push_to)
        await self.subscriber.create_subscription(
            request=Subscription(name=name, topic=topic, push_config=push, **settings)
        )
        return name

    async def publish(self, topic: str, *texts: str, **fields: Any) -> list[str]:
        messages = [{"data": text.encode(), **fields} for text in texts]
        return list((await self.publisher.publish(request={"topic": topic, "messages": messages})).message_ids)

    async def pull(self, subscription: str) -> list[Any]:
        """What a pull brings, within a time in which nothing may come."""
        with suppress(DeadlineExceeded):
            answer = await self.subscriber.pull(
                subscription=subscription, max_messages=100, timeout=PULL_SECONDS, retry=None
            )
            return list(answer.received_messages)
        return []

    async def pull_some(self, subscription: str) -> list[Any]:
        return await eventually(lambda: self.pull(subscription))


class Receiver:
    """A push endpoint: remembers what it got and answers as told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.content_types: set[str] = set()
        self.url = ""
        self.answer: Callable[[str], Awaitable[int]] = self._accept

    @property
    def texts(self) -> list[str]:
        return [base64.b64decode(body["message"]["data"]).decode() for body in self.bodies]

    async def handle(self, request: web.Request) -> web.Response:
        self.content_types.add(request.content_type)
        self.bodies.append(await request.json())
        return web.Response(status=await self.answer(self.texts[-1]))

    async def got(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.bodies) >= count

        await eventually(enough)

    async def _accept(self, _text: str) -> int:
        return 204


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver, app, port = Receiver(), web.Application(), free_port()
    app.router.add_post("/push", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    receiver.url = f"http://{HOST}:{port}/push"
    yield receiver
    await runner.cleanup()


async def eventually(look: Callable[[], Awaitable[T]]) -> T:
    """The first true result."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (result := await look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(POLL_SECONDS)
    return result


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
        await asyncio.to_thread(ensure_topology, emulator, project, url)
    subscriptions = await queue.subscriber.list_subscriptions(project=f"projects/{project}")
    found = {subscription.name.rpartition("/")[2]: subscription async for subscription in subscriptions}
    assert set(found) == {"process-order", "orders-dead-letter"}
    pushed = found["process-order"]
    assert pushed.push_config.push_endpoint == "http://127.0.0.1:2"
    assert pushed.ack_deadline_seconds == 60
    assert (pushed.retry_policy.minimum_backoff.seconds, pushed.retry_policy.maximum_backoff.seconds) == (1, 5)
    assert pushed.dead_letter_policy.max_delivery_attempts == 100
    assert pushed.dead_letter_policy.dead_letter_topic == f"projects/{project}/topics/orders-dead-letter"
    assert found["orders-dead-letter"].push_config.push_endpoint == ""


def acked(journal: Path) -> int:
    return sum('"ack"' in line for line in journal.read_text().splitlines())


def drawn(faults: str, subscription: str, ids: list[str]) -> Counter[str]:
    """How often each message has to come: its duplicate, and its deliveries up to the first ack that isn't lost."""
    plan = Faults.parse(faults)

    def times(key: str) -> int:
        return len(plan.offers(key)) - 1 + next(n for n in range(1, 100) if not plan.drops_ack(key, n))

    return Counter({message_id: times(f"{subscription}/{message_id}") for message_id in ids})


@pytest.mark.parametrize("run", ["first", "second"])
async def test_the_same_seed_makes_the_same_faults(tmp_path: Path, receiver: Receiver, run: str) -> None:
    port, journal = free_port(), tmp_path / run
    with running(embedded(port, "--journal", str(journal), "--faults", FAULTS), port):
        async with connected(f"{HOST}:{port}") as queue:
            # Faults are drawn from the subscription's name and the message's id, so both have to be the same each time.
            topic, name = await queue.topic(), f"{PROJECT}/subscriptions/faulty"
            push = PushConfig(push_endpoint=receiver.url)
            wanted = Subscription(name=name, topic=topic, push_config=push, retry_policy=FAST_RETRY)
            await queue.subscriber.create_subscription(request=wanted)
            ids = await queue.publish(topic, *map(str, range(60)))
            expected = drawn(FAULTS, name, ids)
            await receiver.got(expected.total())

            async def all_acked() -> bool:
                return acked(journal) == 60

            await eventually(all_acked)
    order = [body["message"]["messageId"] for body in receiver.bodies]
    assert Counter(order) == expected
    assert expected.total() > 60
    assert list(dict.fromkeys(order)) != ids  # some were overtaken
    assert drawn(FAULTS.replace("seed=7", "seed=8"), name, ids) != expected


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


async def test_stops_promptly_when_told() -> None:
    port = free_port()
    with running(embedded(port), port) as process:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 5.0) == 0


@pytest.mark.parametrize("faults", ["lightning=1", "duplicate=2", "delay=nan", "drop_ack=often"])
def test_refuses_faults_that_it_does_not_know(faults: str) -> None:
    with pytest.raises(ValueError, match=r"fault|share|float"):
        Faults.parse(faults)


async def test_a_killed_emulator_comes_back_with_what_was_not_acknowledged(tmp_path: Path, receiver: Receiver) -> None:
    port, journal = free_port(), tmp_path / "journal"
    command = embedded(port, "--journal", str(journal))
    with running(command, port) as process:
        async with connected(f"{HOST}:{port}") as queue:
            topic = await queue.topic()
            pulled = await queue.subscribe(topic)
            pushed = await queue.subscribe(topic, receiver.url)
            await queue.publish(topic, "done", "open")
            await receiver.got(2)
            for received in await queue.pull_some(pulled):
                if received.message.data == b"done":
                    await queue.subscriber.acknowledge(subscription=pulled, ack_ids=[received.ack_id])

            async def both_pushes_acked() -> bool:
                return acked(journal) == 3

            await eventually(both_pushes_acked)
        process.kill()
        process.wait()
    with journal.open("a") as torn:
        torn.write('{"publish": ["half a li')
    with running(command, port):
        async with connected(f"{HOST}:{port}") as queue:
            [received] = await queue.pull_some(pulled)
            assert received.message.data == b"open"
            assert (await queue.subscriber.get_subscription(subscription=pushed)).topic == topic
            await queue.publish(topic, "new")
            await receiver.got(3)
    assert sorted(receiver.texts) == ["done", "new", "open"]
    ids = [body["message"]["messageId"] for body in receiver.bodies]
    assert len(set(ids)) == 3  # a restart gives no id out again


async def test_a_restart_makes_the_journal_small(tmp_path: Path) -> None:
    port, journal = free_port(), tmp_path / "journal"
    with running(embedded(port, "--journal", str(journal)), port):
        async with receiving() as receiver, connected(f"{HOST}:{port}") as queue:
            topic = await queue.topic()
            await queue.subscribe(topic, receiver.url)
            await queue.publish(topic, *map(str, range(100)))

            async def all_acked() -> bool:
                return acked(journal) == 100

            await eventually(all_acked)
    with running(embedded(port, "--journal", str(journal)), port):
        entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [next(iter(entry)) for entry in entries] == ["last_id", "topic", "subscription"]
