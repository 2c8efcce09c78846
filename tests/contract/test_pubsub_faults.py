"""What goes wrong in our own emulator when it is told to: by a seed, and the same each time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from google.api_core.exceptions import ServiceUnavailable

from local.pubsub_faults import Faults
from tests.contract.pubsub import FAST_RETRY, Receiver, acked, eventually, own_queue

FAULTS = "seed=7,duplicate=0.4,delay=0.2,reorder=0.5,drop_ack=0.3"


def drawn(faults: str, subscription: str, ids: list[str]) -> Counter[str]:
    """How often each message has to come: its duplicate, and its deliveries up to the first ack that isn't lost."""
    plan = Faults.parse(faults)

    def times(key: str) -> int:
        return len(plan.offers(key)) - 1 + next(n for n in range(1, 100) if not plan.drops_ack(key, n))

    return Counter({message_id: times(f"{subscription}/{message_id}") for message_id in ids})


@pytest.mark.parametrize("run", ["first", "second"])
async def test_the_same_seed_makes_the_same_faults(tmp_path: Path, receiver: Receiver, run: str) -> None:
    journal = tmp_path / run
    async with own_queue("--journal", str(journal), "--faults", FAULTS) as queue:
        topic = await queue.topic()
        # Faults are drawn from the subscription's name and the message's id, so both have to be the same each time.
        name = await queue.subscribe(topic, receiver.url, name="faulty", retry_policy=FAST_RETRY)
        ids = await queue.publish(topic, *map(str, range(60)))
        expected = drawn(FAULTS, name, ids)
        await receiver.got(expected.total())

        async def all_acked() -> bool:
            return acked(journal) == 60

        await eventually(all_acked)
    order = receiver.ids
    assert Counter(order) == expected
    assert expected.total() > 60
    assert list(dict.fromkeys(order)) != ids  # some were overtaken
    assert drawn(FAULTS.replace("seed=7", "seed=8"), name, ids) != expected


async def test_the_seed_says_which_publish_calls_are_refused_and_nothing_of_them_is_kept() -> None:
    async with own_queue("--faults", "seed=7,refuse=0.4") as queue:
        topic = await queue.topic("faulty")  # the name counts as well
        subscription = await queue.subscribe(topic)
        refused: dict[int, str] = {}
        for number in range(1, 41):
            try:
                await queue.publish(topic, str(number))
            except ServiceUnavailable as error:
                refused[number] = str(error)
        pulled = await queue.pull_some(subscription)
    plan = Faults.parse("seed=7,refuse=0.4")
    assert list(refused) == [number for number in range(1, 41) if plan.refuses(topic, number)]
    assert 5 < len(refused) < 35
    assert all("publish again" in text for text in refused.values())
    assert {int(each.message.data) for each in pulled} == set(range(1, 41)) - set(refused)


@pytest.mark.parametrize("faults", ["lightning=1", "duplicate=2", "delay=nan", "drop_ack=often", "refuse=-1"])
def test_refuses_faults_that_it_does_not_know(faults: str) -> None:
    with pytest.raises(ValueError, match=r"fault|share|float"):
        Faults.parse(faults)
