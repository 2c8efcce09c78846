"""Dead letters are taken in while the database is well, and rejected messages are tried again when a person asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from common import puller
from common.charges import Charges
from common.charging import Charging
from common.database import Database, DatabaseUnavailable
from common.messages import WAKE_UP, Delivery
from common.publisher import Message, Publisher
from common.puller import Puller
from common.reconcile import dead_letters, retries
from common.refunds import Refunds
from common.reservations import Reservations
from common.settings import RECONCILE_PAUSE_SECONDS
from common.stripe_payments import StripePayments
from local.machine import free_port
from local.recipes import PROJECT
from tests.conftest import Engine, order
from tests.contract.pubsub import acked
from tests.integration.test_charging import event
from tests.integration.test_reservations import OPEN, SECRET, message, recorded, statuses
from tests.outages import Queue, eventually

LIMIT = 20
ROLE = "?role=merchdrop_reconcile"
NOBODY = "http://127.0.0.1:1"
FIRST_PUBLISHED_AT = "CloudPubSubDeadLetterSourceTopicPublishTime"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    queue.start()
    queue.deliver_to(NOBODY)
    yield queue
    queue.kill()


class Reconcile:
    """One instance of reconcile, as far as messages go, with the rights that it has."""

    def __init__(self, url: str, host: str) -> None:
        self.database, self.wake_ups = Database(url + ROLE), Publisher(PROJECT, "payments", host)
        self.provider = provider = StripePayments("sk_test", NOBODY)
        reservations = Reservations(self.database, self.wake_ups, {1: SECRET})
        charges, refunds = Charges(self.database, provider, 1000.0), Refunds(self.database, provider)
        self.handlers: dict[str, dead_letters.Handle] = {
            "orders": partial(reservations.decide, is_dead_letter=True),
            "payments": partial(Charging(self.database, charges, refunds, self.wake_ups).handle, is_dead_letter=True),
        }
        self.pullers = {topic: Puller(PROJECT, f"{topic}-dead-letter", host) for topic in self.handlers}

    async def take_in(self) -> tuple[dict[str, int], float | None]:
        sources = {self.pullers[topic]: handle for topic, handle in self.handlers.items()}
        return await dead_letters.run_once(self.database, sources, LIMIT)

    async def try_again(self) -> dict[str, int]:
        return (await retries.run_once(self.database, self.handlers, LIMIT)).counts

    async def close(self) -> None:
        for one in self.pullers.values():
            await one.close()
        await self.wake_ups.close()
        await self.provider.close()
        await self.database.close()


@pytest.fixture
async def new_instance(queue: Queue) -> AsyncIterator[Callable[[str], Reconcile]]:
    async with AsyncExitStack() as stack:

        def make(url: str) -> Reconcile:
            instance = Reconcile(url, queue.host)
            stack.push_async_callback(instance.close)
            return instance

        yield make


@pytest.fixture
async def instance(engine: Engine, new_instance: Callable[[str], Reconcile]) -> Reconcile:
    await engine.create_drop(items={"M": 99}, **OPEN)
    return new_instance(engine.url)


async def die(queue: Queue, *documents: Any, topic: str = "orders", **attributes: str) -> None:
    """Put messages among the dead letters."""
    publisher = Publisher(PROJECT, f"{topic}-dead-letter", queue.host)
    await publisher.publish([Message.of(document, attributes) for document in documents])
    await publisher.close()


def left(queue: Queue) -> list[int]:
    """How often each message that is still there has been delivered, this look included."""
    return [one.delivery_attempt for one in queue.take(f"projects/{PROJECT}/subscriptions/orders-dead-letter")]


async def test_an_order_that_only_the_dead_letters_know_is_inserted_and_decided(
    engine: Engine, instance: Reconcile, queue: Queue
) -> None:
    one = message("a")
    await die(queue, one)
    assert await instance.take_in() == ({"taken_in": 1, "left": 0}, 0)
    assert await statuses(engine) == {one["order_id"]: "confirmed"}
    assert await instance.take_in() == ({"taken_in": 0, "left": 0}, None)
    assert eventually(lambda: acked(queue.journal) == 1)


@pytest.mark.parametrize(("attributes", "status"), [(1, "confirmed"), (0, "rejected")], ids=["", "control-without"])
async def test_an_order_is_judged_by_the_time_at_which_it_was_first_published(
    engine: Engine, instance: Reconcile, queue: Queue, attributes: int, status: str
) -> None:
    await engine.create_drop("over", starts_at="2020-01-01T00:00:00Z", ends_at="2020-02-01T00:00:00Z")
    one = message("a", drop_id="over")
    await die(queue, one, **({FIRST_PUBLISHED_AT: "2020-01-31T12:00:00.5Z"} if attributes else {}))
    await instance.take_in()
    assert await statuses(engine) == {one["order_id"]: status}


async def test_what_can_never_be_processed_is_recorded_and_acknowledged(
    engine: Engine, instance: Reconcile, queue: Queue
) -> None:
    await die(queue, {"no": "order"}, message("a", drop_id="nope"))
    await die(queue, {"kind": "odd"}, topic="payments")
    assert (await instance.take_in())[0] == {"taken_in": 3, "left": 0}
    rows = await engine.connection.fetch("SELECT topic, reason FROM rejected_messages")
    assert sorted(map(tuple, rows)) == [
        ("orders", "drop_not_found"),
        ("orders", "malformed"),
        ("payments", "malformed"),
    ]
    assert eventually(lambda: acked(queue.journal) == 3)


async def test_without_the_database_nothing_is_pulled(new_instance: Callable[[str], Reconcile], queue: Queue) -> None:
    await die(queue, message("a"))
    with pytest.raises(DatabaseUnavailable):
        await new_instance(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing").take_in()
    assert left(queue) == [1]


async def test_what_fails_is_left_for_the_next_run(engine: Engine, instance: Reconcile, queue: Queue) -> None:
    await die(queue, message("a"), message("b"))
    await engine.connection.execute("ALTER FUNCTION reserve_orders RENAME TO away")
    assert await instance.take_in() == ({"taken_in": 0, "left": 2}, RECONCILE_PAUSE_SECONDS)
    await engine.connection.execute("ALTER FUNCTION away RENAME TO reserve_orders")
    assert (await instance.take_in())[0] == {"taken_in": 2, "left": 0}
    assert set((await statuses(engine)).values()) == {"confirmed"}


async def test_what_the_database_can_not_take_is_recorded_after_so_many_deliveries_and_not_before(
    engine: Engine, instance: Reconcile, queue: Queue
) -> None:
    await engine.connection.execute("ALTER TABLE orders ADD CHECK (customer_id <> 'c-a')")
    process_order = Reservations(instance.database, instance.wake_ups, {1: SECRET})
    one = message("a")
    delivery = Delivery("m-1", "2020-06-01T12:00:00Z", json.dumps(one).encode())
    assert not await process_order.decide(delivery)
    assert await recorded(engine) == []
    await die(queue, one, message("b"))
    assert (await instance.take_in())[0] == {"taken_in": 2, "left": 0}
    assert [reason for _, reason in await recorded(engine)] == ["not_taken"]
    assert set((await statuses(engine)).values()) == {"confirmed"}


async def test_a_providers_event_is_settled_and_a_wake_up_is_let_go(
    engine: Engine, instance: Reconcile, queue: Queue
) -> None:
    await engine.create_drop("paid", price=5)
    paid, due = (
        order(key, drop_id="paid", payable=True, request={"payment_method": "pm_card_visa"}) for key in ("a", "b")
    )
    await engine.accept(paid, due)
    await engine.reserve(paid["order_id"], due["order_id"])
    await engine.call("claim_payments", {"limit": 1, "pace": 1000, "burst": 1, "lease_seconds": 60})
    await engine.call("settle_payments", [{"order_id": paid["order_id"], "outcome": "created", "provider_ref": "pi"}])
    await die(
        queue,
        event(order_id=paid["order_id"]),
        event(order_id=paid["order_id"], provider_ref="\x00"),
        WAKE_UP,
        topic="payments",
    )
    assert (await instance.take_in())[0] == {"taken_in": 3, "left": 0}
    assert await statuses(engine) == {paid["order_id"]: "confirmed", due["order_id"]: "reserved"}
    assert await engine.count("payments WHERE attempt > 0") == 1  # nobody was woken to charge the other
    assert [reason for _, reason in await recorded(engine)] == ["not_taken"]


async def test_a_message_that_breaks_its_function_keeps_nobody_else_from_being_done_with(
    engine: Engine, instance: Reconcile, queue: Queue
) -> None:
    decide = instance.handlers["orders"]

    async def break_once(delivery: Delivery) -> bool:
        if b"c-a" in delivery.data:
            raise RuntimeError
        return await decide(delivery)

    instance.handlers["orders"] = break_once
    await die(queue, message("a"), message("b"))
    assert (await instance.take_in())[0] == {"taken_in": 1, "left": 1}
    assert len(left(queue)) == 1


async def test_two_runs_at_once_do_everything_once(
    engine: Engine, instance: Reconcile, new_instance: Callable[[str], Reconcile], queue: Queue
) -> None:
    letters = [message(f"{number}") for number in range(2 * LIMIT)]
    await die(queue, *letters, *letters, {"no": "order"})
    instances = instance, new_instance(engine.url)
    taken_in = 0
    while done := sum([one["taken_in"] for one, _ in await asyncio.gather(*(each.take_in() for each in instances))]):
        taken_in += done
    assert taken_in == 2 * len(letters) + 1
    assert len(await statuses(engine)) == len(letters)
    assert [reason for _, reason in await recorded(engine)] == ["malformed"]
    assert await engine.violations() == []


async def test_a_queue_that_is_away_is_no_error_and_is_looked_for_again(instance: Reconcile, queue: Queue) -> None:
    queue.kill()
    assert await instance.take_in() == ({"taken_in": 0, "left": 0}, RECONCILE_PAUSE_SECONDS)


async def test_a_pull_that_nobody_answers_ends(
    instance: Reconcile, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "PULL_SECONDS", 0.3)  # less than the emulator waits for a message
    assert await instance.take_in() == ({"taken_in": 0, "left": 0}, None)


async def test_a_rejected_message_that_can_succeed_by_now_does_when_a_person_asks(
    engine: Engine, instance: Reconcile, queue: Queue
) -> None:
    one = message("a", drop_id="later")
    await die(queue, one, {"no": "order"})
    await instance.take_in()
    assert await instance.try_again() == {"tried": 0, "finished": 0}  # nobody has asked
    ids = [row["id"] for row in await engine.connection.fetch("SELECT id FROM rejected_messages")]
    await engine.create_drop("later")
    await engine.call("retry_messages", [{"id": one} for one in ids])
    assert await instance.try_again() == {"tried": 2, "finished": 1}
    assert await statuses(engine) == {one["order_id"]: "confirmed"}
    assert [reason for _, reason in await recorded(engine)] == ["malformed"]
    assert await instance.try_again() == {"tried": 0, "finished": 0}


async def test_two_runs_that_try_a_message_again_at_once_do_it_once(
    engine: Engine, instance: Reconcile, new_instance: Callable[[str], Reconcile], queue: Queue
) -> None:
    one = message("a", drop_id="later")
    await die(queue, one)
    await instance.take_in()
    await engine.create_drop("later")
    ((message_id, _),) = await recorded(engine)
    await engine.call("retry_messages", [{"id": message_id}])
    await asyncio.gather(instance.try_again(), new_instance(engine.url).try_again())
    assert await statuses(engine) == {one["order_id"]: "confirmed"}
    assert await recorded(engine) == []
    assert await engine.violations() == []


async def test_a_message_that_fails_again_for_want_of_the_database_stays_to_be_tried(
    engine: Engine, instance: Reconcile, queue: Queue
) -> None:
    await die(queue, message("a", drop_id="later"))
    await instance.take_in()
    await engine.create_drop("later")
    ((message_id, _),) = await recorded(engine)
    await engine.call("retry_messages", [{"id": message_id}])
    await engine.connection.execute("ALTER FUNCTION reserve_orders RENAME TO away")
    assert await instance.try_again() == {"tried": 0, "finished": 0}
    await engine.connection.execute("ALTER FUNCTION away RENAME TO reserve_orders")
    assert await instance.try_again() == {"tried": 1, "finished": 1}
