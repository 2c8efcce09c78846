"""What our own emulator keeps when its process ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from local.machine import HOST, free_port
from tests.contract.pubsub import Receiver, acked, connected, embedded, eventually, receiving, running


async def test_stops_promptly_when_told() -> None:
    port = free_port()
    with running(embedded(port), port) as process:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 5.0) == 0


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
