"""Messages of one ordering key, held against both emulators; faults and restarts are our own one's alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from google.api_core.exceptions import FailedPrecondition

from local.machine import HOST, free_port
from tests.contract.pubsub import FAST_RETRY, Queue, Receiver, connected, embedded, eventually, own_queue, running

TEXTS = [str(number) for number in range(10)]


@pytest.mark.parametrize("in_order", [True, False])
async def test_a_key_waits_for_its_first_message_if_the_subscription_says_so(
    queue: Queue, receiver: Receiver, in_order: bool
) -> None:
    finish = asyncio.Event()

    async def hang_on_the_first(text: str) -> int:
        if text == "first":
            await finish.wait()
        return 204

    receiver.answer = hang_on_the_first
    topic = await queue.topic()
    await queue.subscribe(topic, receiver.url, enable_message_ordering=in_order, ack_deadline_seconds=60)
    try:
        await queue.publish(topic, "first", "second", ordering_key="one")
        await receiver.got(1 if in_order else 2)
        await queue.publish(topic, "of another key", ordering_key="other")
        await receiver.got(2 if in_order else 3)
        early = sorted(receiver.texts)
    finally:
        finish.set()
    await receiver.got(3)
    assert early == sorted({"first", "of another key", *([] if in_order else ["second"])})


async def test_a_refused_message_is_pushed_again_before_the_next_of_its_key(queue: Queue, receiver: Receiver) -> None:
    async def refuse_the_second_twice(text: str) -> int:
        return 500 if text == "1" and receiver.texts.count("1") <= 2 else 204

    receiver.answer = refuse_the_second_twice
    topic = await queue.topic()
    await queue.subscribe(topic, receiver.url, enable_message_ordering=True, retry_policy=FAST_RETRY)
    await queue.publish(topic, *TEXTS[:4], ordering_key="one")
    await receiver.got(6)
    assert receiver.texts == ["0", "1", "1", "1", "2", "3"]


@pytest.mark.parametrize("seconds", [0, 1])
async def test_what_is_given_back_or_kept_too_long_is_pulled_again_before_the_next_of_its_key(
    queue: Queue, seconds: int
) -> None:
    topic = await queue.topic()
    subscription = await queue.subscribe(topic, enable_message_ordering=True, retry_policy=FAST_RETRY)
    await queue.publish(topic, *TEXTS[:3], ordering_key="one")
    # Google's emulator hands out the whole key at once, ours one after the other; Pub/Sub may do either.
    first = await queue.pull_some(subscription)
    await queue.give_back(subscription, *first, after_seconds=seconds)
    pulled: list[str] = []

    async def all_came() -> bool:
        received = await queue.pull(subscription)
        pulled.extend(each.message.data.decode() for each in received)
        if received:
            await queue.ack(subscription, *received)
        return len(pulled) >= 3

    await eventually(all_came)
    assert first[0].message.data == b"0"
    assert first[0].message.ordering_key == "one"
    assert pulled == TEXTS[:3]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ("seed=7,delay=0.1,reorder=0.5", TEXTS),
        ("duplicate=1", [text for text in TEXTS for _ in range(2)]),
    ],
)
async def test_faults_leave_the_order_alone(receiver: Receiver, faults: str, expected: list[str]) -> None:
    async with own_queue("--faults", faults) as queue:
        topic = await queue.topic()
        await queue.subscribe(topic, receiver.url, enable_message_ordering=True)
        await queue.publish(topic, *TEXTS, ordering_key="one")
        await receiver.got(len(expected))
    assert receiver.texts == expected


async def test_the_order_outlives_the_emulator(tmp_path: Path, receiver: Receiver) -> None:
    port = free_port()
    command = embedded(port, "--journal", str(tmp_path / "journal"))
    with running(command, port):
        async with connected(f"{HOST}:{port}") as queue:
            topic = await queue.topic()
            nowhere = f"http://{HOST}:{free_port()}/"
            name = await queue.subscribe(topic, nowhere, enable_message_ordering=True, retry_policy=FAST_RETRY)
            await queue.publish(topic, *TEXTS, ordering_key="one")
    with running(command, port):
        async with connected(f"{HOST}:{port}") as queue:
            await queue.push_to(name, receiver.url)
            await receiver.got(len(TEXTS))
    assert receiver.texts == TEXTS


async def test_an_ack_that_comes_after_the_message_was_given_back_lets_the_next_of_its_key_go() -> None:
    async with own_queue() as queue:
        topic = await queue.topic()
        subscription = await queue.subscribe(topic, enable_message_ordering=True, retry_policy=FAST_RETRY)
        await queue.publish(topic, "0", "1", ordering_key="one")
        [first] = await queue.pull_some(subscription)
        await queue.give_back(subscription, first)
        await queue.ack(subscription, first)
        [second] = await queue.pull_some(subscription)
    assert (first.message.data, second.message.data) == (b"0", b"1")


async def test_refuses_two_ordering_keys_in_one_call() -> None:
    """As Pub/Sub does; Google's emulator lets it pass."""
    async with own_queue() as queue:
        topic = await queue.topic()
        messages = [{"data": b"text", "ordering_key": key} for key in ("one", "")]
        with pytest.raises(FailedPrecondition):
            await queue.publisher.publish(request={"topic": topic, "messages": messages}, retry=None)
