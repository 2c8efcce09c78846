"""Publishing to a queue that is silent or killed: bounded, and one time-out for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from common import breaker, publisher
from common.breaker import Breaker
from common.publisher import Message, Publisher, PublishFailed
from local.recipes import PROJECT
from tests.outages import Queue, Way, awaited, way_to

CALLS = 20
FOR_EVER = 3600.0
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    queue.start()
    queue.deliver_to(NOWHERE)
    yield queue
    queue.kill()


@pytest.fixture
def way(queue: Queue) -> Iterator[Way]:
    with way_to(queue.port) as way:
        yield way


@pytest.fixture
async def client(way: Way) -> AsyncIterator[Publisher]:
    """A Publisher that takes the way."""
    client = Publisher(PROJECT, "orders", f"127.0.0.1:{way.port}")
    yield client
    await client.close()


async def publish(client: Publisher, text: str) -> None:
    await client.publish([Message(text.encode(), {})])


async def refused(client: Publisher, times: int) -> None:
    for n in range(times):
        with pytest.raises(PublishFailed):
            await publish(client, f"refused-{n}")


async def publishes(client: Publisher) -> bool:
    with suppress(PublishFailed):
        await publish(client, "back")
        return True
    return False


async def test_control_without_the_breaker_every_message_waits_for_a_time_out(
    client: Publisher, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    async def send(_self: Publisher, batch: list[Message]) -> None:
        calls.append(batch)
        raise TimeoutError

    monkeypatch.setattr(Publisher, "_send", send)
    monkeypatch.setattr(Breaker, "trip", lambda _self, _cause: None)
    await refused(client, CALLS)
    assert len(calls) == CALLS


async def test_a_silent_queue_costs_one_time_out_for_all_messages(
    client: Publisher, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "BREAKER_PAUSE_SECONDS", FOR_EVER)
    way.silence()
    await refused(client, CALLS)
    assert way.connections == 1


async def test_a_queue_that_falls_silent_is_noticed_and_so_is_its_return(
    client: Publisher, way: Way, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "PUBLISH_SECONDS", 0.5)
    await publish(client, "before")
    way.silence()
    await refused(client, CALLS)
    way.restore()
    assert await awaited(lambda: publishes(client))
    assert queue.published()[0] == b"before"


async def test_a_killed_queue_is_noticed_and_so_is_its_return(client: Publisher, queue: Queue) -> None:
    await publish(client, "before")
    queue.kill()
    await refused(client, CALLS)
    assert not await client.reachable()
    queue.start()
    assert await awaited(lambda: publishes(client))
    assert await client.reachable()
    assert {b"before", b"back"} <= set(queue.published())


async def test_a_new_channel_is_a_new_connection(client: Publisher, way: Way) -> None:
    """What a probe hangs on: gRPC would give it the connection that is silent, as long as anybody else holds it."""
    way.silence()
    other = Publisher(PROJECT, "orders", f"127.0.0.1:{way.port}")
    assert not any(await asyncio.gather(client.reachable(), other.reachable()))
    assert way.connections == 2
    await other.close()


async def test_health_is_told_when_a_probe_closes_the_channel_meanwhile(client: Publisher, way: Way) -> None:
    way.silence()
    asking = asyncio.create_task(client.reachable())

    async def connects() -> bool:
        return way.connections == 1

    assert await awaited(connects)
    await client.close()  # as a probe does
    assert not await asking


async def test_the_look_for_a_queues_return_does_not_tell_a_later_message_of_a_key_first(
    client: Publisher, queue: Queue
) -> None:
    ordered = [Message(text, {}, "key") for text in (b"first", b"second")]
    await publish(client, "before")
    queue.kill()
    with pytest.raises(PublishFailed):
        await client.publish(ordered)
    queue.start()

    async def is_published() -> bool:
        with suppress(PublishFailed):
            await client.publish(ordered)
            return True
        return False

    assert await awaited(is_published)
    assert list(dict.fromkeys(queue.published())) == [b"before", b"first", b"second"]


async def test_messages_of_two_ordering_keys_go_in_two_calls(client: Publisher, queue: Queue) -> None:
    """Pub/Sub refuses them in one."""
    await client.publish([Message(key.encode(), {}, key) for key in ("a", "a", "b", "a")])
    assert queue.published() == [b"a", b"a", b"b", b"a"]
