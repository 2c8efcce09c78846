"""What our own emulator keeps when its process ends, and how much of the disk that takes."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from google.api_core.exceptions import GoogleAPICallError, ResourceExhausted

from local.machine import HOST, free_port
from local.pubsub_limits import JOURNAL_BYTES_MIN
from tests.contract.pubsub import Queue, Receiver, acked, connected, embedded, eventually, own_queue, running

# The emulator without what protects its messages: they are written some time after their publisher got his answer.
LATE = """
from local import pubsub_store
class Late(pubsub_store.Journal):
    def write(self, *lines):
        super().write(*(line for line in lines if not line.startswith(b"message ")))
        self._waiting += [line for line in lines if line.startswith(b"message ")]
pubsub_store.Journal = Late
from local.pubsub import main
main()
"""
KILLED_AFTER = (100, 400, 700)  # answers to publishers, in three lives


async def test_stops_promptly_when_told() -> None:
    port = free_port()
    with running(embedded(port), port) as process:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 5.0) == 0


async def test_a_killed_emulator_comes_back_with_what_was_not_acknowledged(tmp_path: Path, receiver: Receiver) -> None:
    port, journal = free_port(), tmp_path / "journal"
    command = embedded(port, "--journal", str(journal))
    with running(command, port):
        async with connected(f"{HOST}:{port}") as queue:
            topic = await queue.topic()
            pulled = await queue.subscribe(topic)
            pushed = await queue.subscribe(topic, receiver.url)
            await queue.publish(topic, "done", "open", attributes={"trace": "1"}, ordering_key="one")
            await receiver.got(2)
            for received in await queue.pull_some(pulled):
                if received.message.data == b"done":
                    await queue.ack(pulled, received)

            async def both_pushes_acked() -> bool:
                return acked(journal) == 3

            await eventually(both_pushes_acked)
    with journal.open("a") as torn:
        torn.write(f"message {pulled} 99 half a li")
    with running(command, port):
        async with connected(f"{HOST}:{port}") as queue:
            [received] = await queue.pull_some(pulled)
            assert (received.message.data, dict(received.message.attributes)) == (b"open", {"trace": "1"})
            assert received.message.ordering_key == "one"
            assert (await queue.subscriber.get_subscription(subscription=pushed)).topic == topic
            await queue.publish(topic, "new")
            await receiver.got(3)
    assert sorted(receiver.texts) == ["done", "new", "open"]
    assert len(set(receiver.ids)) == 3  # a restart gives no id out again


async def test_with_messages_written_late_a_kill_loses_some(tmp_path: Path) -> None:
    """The negative control of the next test: with the protection taken away, it sees the loss."""
    missing, _ = await missing_after_kills([sys.executable, "-c", LATE], tmp_path / "journal", KILLED_AFTER[:1])
    assert missing


async def test_a_kill_at_any_moment_loses_nothing_that_a_publisher_got_an_answer_for(tmp_path: Path) -> None:
    missing, answered = await missing_after_kills([sys.executable, "-m", "local.pubsub"], tmp_path / "j", KILLED_AFTER)
    assert not missing
    assert answered > sum(KILLED_AFTER)


async def missing_after_kills(program: list[str], journal: Path, kills: tuple[int, ...]) -> tuple[set[str], int]:
    """Publish from all sides and acknowledge half, kill after so many answers, and count: who is missing, of how many.

    The messages are large, so that the journal is rewritten in the middle of it.
    """
    port = free_port()
    command = [*program, "--host", HOST, "--port", str(port), "--journal", str(journal)]
    answered: list[str] = []
    done: set[str] = set()
    topic = subscription = ""

    async def publish(queue: Queue) -> None:
        while True:
            answered.extend(await queue.publish(topic, *["x" * 20_000] * 10))

    async def take_half(queue: Queue) -> None:
        while True:
            even = [each for each in await queue.pull(subscription) if int(each.message.message_id) % 2 == 0]
            done.update(each.message.message_id for each in even)
            if even:
                await queue.ack(subscription, *even)

    for answers in kills:
        with running(command, port) as process:
            async with connected(f"{HOST}:{port}") as queue:
                topic = topic or await queue.topic()
                subscription = subscription or await queue.subscribe(topic)
                before = len(answered)
                at_work = asyncio.gather(*(publish(queue) for _ in range(4)), take_half(queue))

                async def enough(wanted: int = before + answers) -> bool:
                    return len(answered) >= wanted

                await eventually(enough)
                process.kill()
                with suppress(GoogleAPICallError):
                    await at_work
                at_work.cancel()
                await asyncio.gather(at_work, return_exceptions=True)
    found: set[str] = set()
    async with own_queue("--journal", str(journal)) as queue:
        while pulled := await queue.pull(subscription):
            found.update(each.message.message_id for each in pulled)
            await queue.ack(subscription, *pulled)
    return set(answered) - done - found, len(answered)


async def test_a_restart_makes_the_journal_short(tmp_path: Path, receiver: Receiver) -> None:
    journal = tmp_path / "journal"
    async with own_queue("--journal", str(journal)) as queue:
        topic = await queue.topic()
        await queue.subscribe(topic, receiver.url)
        await queue.publish(topic, *map(str, range(100)))

        async def all_acked() -> bool:
            return acked(journal) == 100

        await eventually(all_acked)
    async with own_queue("--journal", str(journal)):
        entries = [line.split()[0] for line in journal.read_text().splitlines()]
    assert entries == ["last_id", "topic", "subscription"]


async def test_the_journal_stays_short_while_messages_come_and_go(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    written = longest = 0
    async with own_queue("--journal", str(journal)) as queue:
        topic = await queue.topic()
        subscription = await queue.subscribe(topic)
        await queue.publish(topic, "stays")
        [stays] = await queue.pull_some(subscription)
        await queue.give_back(subscription, stays, after_seconds=600)
        while written < 8 * JOURNAL_BYTES_MIN:
            await queue.publish(topic, "x" * 2_000_000)
            written += 2_000_000
            await queue.ack(subscription, *await queue.pull_some(subscription))
            longest = max(longest, journal.stat().st_size)
    assert longest < 2 * JOURNAL_BYTES_MIN
    async with own_queue("--journal", str(journal)) as queue:
        [left] = await queue.pull_some(subscription)
    assert left.message.data == b"stays"


async def test_a_full_disk_refuses_messages_and_spoils_none_of_those_before(tmp_path: Path) -> None:
    port, journal = free_port(), tmp_path / "journal"
    command = embedded(port, "--journal", str(journal))
    kept = []

    async def fill(queue: Queue, topic: str) -> None:
        while True:
            kept.extend(await queue.publish(topic, "x" * 300_000))

    with running(["sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", *command], port):  # in blocks: one or two megabytes
        async with connected(f"{HOST}:{port}") as queue:
            topic = await queue.topic()
            subscription = await queue.subscribe(topic)
            with pytest.raises(ResourceExhausted, match=r"journal can't be written.*Make room"):
                await fill(queue, topic)
            kept += await queue.publish(topic, "small")
    async with own_queue("--journal", str(journal)) as queue:
        found = await queue.pull_some(subscription)
    assert [each.message.message_id for each in found] == kept
    assert found[-1].message.data == b"small"
