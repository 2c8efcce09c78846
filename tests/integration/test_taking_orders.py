"""Taking orders while the database or the queue is away, and each protection of that taken out once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from common import batching, database, snapshots
from common import checkout as checkout_module
from common.batching import BadItem
from common.checkout import Checkout, Receipt
from common.database import Database, DatabaseUnavailable
from common.models import CheckoutRequest
from common.order_ids import derive_order_id
from common.problems import Problem
from common.publisher import Message, Publisher
from common.reconcile import republish
from common.settings import SNAPSHOT_SECONDS_MAX
from local.recipes import PROJECT
from tests.conftest import Engine
from tests.outages import Queue, Way, awaited, way_to

SECRET = b"z" * 32
NOWHERE = "http://127.0.0.1:1"
AWAY_SECONDS = 0.3
LIMIT = 100


@pytest.fixture
def way(database_url: str) -> Iterator[Way]:
    """The way to the database."""
    with way_to(int(database_url.rpartition(":")[2].partition("/")[0])) as way:
        yield way


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    queue.start()
    queue.deliver_to(NOWHERE)
    yield queue
    queue.kill()


@pytest.fixture
async def client(database_url: str, way: Way) -> AsyncIterator[Database]:
    """A Database that takes the way."""
    host, _, name = database_url.rpartition(":")
    client = Database(f"{host}:{way.port}/{name.partition('/')[2]}")
    yield client
    await client.close()


@pytest.fixture
async def topic(queue: Queue) -> AsyncIterator[Publisher]:
    topic = Publisher(PROJECT, "orders", queue.host)
    yield topic
    await topic.close()


@pytest.fixture
async def checkout(engine: Engine, client: Database, topic: Publisher) -> Checkout:
    """What serves checkout, which knows an open drop."""
    await engine.create_drop(items={"M": 9})
    checkout = Checkout(client, topic, {1: SECRET}, takes_payments=False)
    await checkout.accept(wanted(), "first")
    return checkout


@pytest.fixture
def database_away(checkout: Checkout, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database has fallen silent, after the instance took an order; it is soon given up."""
    monkeypatch.setattr(database, "DATABASE_COMMAND_SECONDS", AWAY_SECONDS)
    monkeypatch.setattr(database, "DATABASE_CONNECT_SECONDS", AWAY_SECONDS)
    way.silence()


def wanted(sku: str = "M", **fields: Any) -> CheckoutRequest:
    line = {"sku": sku, "quantity": 1}
    return CheckoutRequest.model_validate({"drop_id": "drop", "customer": {"id": "c"}, "items": [line], **fields})


def published(queue: Queue) -> list[str]:
    """The keys of the orders that were published since the last look."""
    return [json.loads(data)["idempotency_key"] for data in queue.published()]


async def orders(engine: Engine) -> dict[str, tuple[str, str | None]]:
    """Status and reason of each order, by its key."""
    rows = await engine.connection.fetch("SELECT idempotency_key, status, reason FROM orders")
    return {row["idempotency_key"]: (row["status"], row["reason"]) for row in rows}


@pytest.mark.usefixtures("database_away")
async def test_without_the_database_an_order_is_a_message_with_the_id_that_it_always_has(
    checkout: Checkout, queue: Queue
) -> None:
    receipts = [await checkout.accept(wanted(), key) for key in ("a", "a", "first")]
    ids = [derive_order_id(SECRET, "drop", key) for key in ("a", "a", "first")]
    assert receipts == [Receipt(order_id, replayed=False) for order_id in ids]
    assert published(queue) == ["first", "a", "a", "first"]


@pytest.mark.usefixtures("database_away")
@pytest.mark.parametrize("request_", [wanted("NONE"), wanted(expected_amount_minor=1)], ids=["sku", "price"])
async def test_without_the_database_nothing_is_promised_that_the_snapshot_does_not_say(
    checkout: Checkout, queue: Queue, request_: CheckoutRequest
) -> None:
    with pytest.raises(Problem) as raised:
        await checkout.accept(request_, "a")
    assert raised.value.name == "unavailable"
    assert published(queue) == ["first"]


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "draft"},
        {"starts_at": "2099-01-01T00:00:00Z"},
        {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z"},
        {"price": 1},
    ],
    ids=["draft", "early", "over", "not free"],
)
async def test_without_the_database_only_an_open_free_drop_is_sold(
    engine: Engine,
    checkout: Checkout,
    queue: Queue,
    way: Way,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
) -> None:
    await engine.create_drop("other", **fields)
    request = wanted().model_copy(update={"drop_id": "other"})
    with pytest.raises(Problem) as refused:
        await checkout.accept(request, "a")
    monkeypatch.setattr(database, "DATABASE_COMMAND_SECONDS", AWAY_SECONDS)
    way.silence()
    with pytest.raises(Problem) as unavailable:
        await checkout.accept(request, "b")
    assert unavailable.value.name == "unavailable" != refused.value.name
    assert published(queue) == ["first"]


@pytest.mark.usefixtures("database_away")
async def test_without_the_database_and_a_snapshot_nothing_is_promised(checkout: Checkout, queue: Queue) -> None:
    with pytest.raises(DatabaseUnavailable):
        await checkout.accept(wanted().model_copy(update={"drop_id": "never-asked-for"}), "a")
    assert published(queue) == ["first"]


class Clock:
    """The time as snapshots see it; it moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(snapshots, "time", clock)
    return clock


async def test_control_without_the_snapshots_age_orders_are_taken_for_a_drop_that_is_long_over(
    clock: Clock, engine: Engine, checkout: Checkout, queue: Queue, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_SECONDS_MAX", float("inf"))
    monkeypatch.setattr(database, "DATABASE_COMMAND_SECONDS", AWAY_SECONDS)
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "ended"})
    clock.now += 10 * SNAPSHOT_SECONDS_MAX
    way.silence()
    await checkout.accept(wanted(), "late")  # the buyer is told 202, and will be told drop_closed
    assert published(queue) == ["first", "late"]


async def test_a_snapshot_is_good_for_minutes_and_not_longer(
    clock: Clock, checkout: Checkout, queue: Queue, database_away: None
) -> None:
    clock.now += SNAPSHOT_SECONDS_MAX - 1
    await checkout.accept(wanted(), "in time")
    clock.now += 1
    with pytest.raises(DatabaseUnavailable):
        await checkout.accept(wanted(), "late")
    assert published(queue) == ["first", "in time"]


@pytest.mark.usefixtures("database_away")
async def test_control_without_waiting_for_the_queue_a_promise_is_lost(
    checkout: Checkout, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = []
    publish = Publisher.publish

    async def publish_later(self: Publisher, messages: Sequence[Message]) -> None:
        tasks.append(asyncio.create_task(publish(self, messages)))

    monkeypatch.setattr(Publisher, "publish", publish_later)
    queue.kill()
    await checkout.accept(wanted(), "lost")
    await asyncio.wait(tasks)
    assert all(task.exception() for task in tasks)
    queue.start()
    assert published(queue) == ["first"]


@pytest.mark.usefixtures("database_away")
async def test_without_database_and_queue_nothing_is_promised_and_the_key_stays_good(
    checkout: Checkout, queue: Queue, way: Way, engine: Engine
) -> None:
    queue.kill()
    with pytest.raises(Problem) as raised:
        await checkout.accept(wanted(), "a")
    assert raised.value.name == "unavailable"
    assert "Retry-After" in raised.value.headers
    queue.start()
    way.restore()

    async def taken() -> Receipt | None:
        with suppress(Problem):
            return await checkout.accept(wanted(), "a")
        return None

    assert await awaited(taken) == Receipt(derive_order_id(SECRET, "drop", "a"), replayed=False)


@pytest.mark.usefixtures("database_away")
async def test_what_the_queue_has_keeps_its_202_although_the_drop_sells_out_before_it_has_a_row(
    checkout: Checkout, way: Way, engine: Engine
) -> None:
    await checkout.accept(wanted(), "a")
    assert await sold_out_after_the_outage(checkout, way, engine) == Receipt(derive_order_id(SECRET, "drop", "a"), True)
    with pytest.raises(Problem) as reused:
        await checkout.accept(wanted(metadata={"other": "request"}), "a")
    with pytest.raises(Problem) as refused:
        await checkout.accept(wanted(), "b")
    assert (reused.value.name, refused.value.name) == ("idempotency-key-reused", "sold-out")


@pytest.mark.usefixtures("database_away")
async def test_control_without_the_memory_of_it_the_repetition_is_refused(
    checkout: Checkout, way: Way, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout_module, "ONLY_QUEUED_MAX", 0)
    await checkout.accept(wanted(), "a")
    with pytest.raises(Problem) as refused:
        await sold_out_after_the_outage(checkout, way, engine)
    assert refused.value.name == "sold-out"


async def sold_out_after_the_outage(checkout: Checkout, way: Way, engine: Engine) -> Receipt:
    """What a repetition of the key `a` gets, when the database is back and everything was sold to others."""
    await engine.connection.execute("UPDATE items SET sold = stock - reserved")
    way.restore()

    async def answer() -> Receipt | None:
        with suppress(DatabaseUnavailable):
            receipt = await checkout.accept(wanted(), "a")
            return receipt if receipt.replayed else None  # else the database is still thought to be away
        return None

    receipt: Receipt | None = await awaited(answer)
    assert receipt is not None
    return receipt


async def test_orders_that_could_not_be_published_are_published_by_reconcile_at_once(
    engine: Engine, checkout: Checkout, queue: Queue
) -> None:
    await take_without_the_queue(checkout, queue)
    assert await republished(engine, queue) == ["a", "b"]
    assert await republished(engine, queue) == []


async def test_control_without_the_mark_reconcile_waits_for_messages_that_never_come(
    engine: Engine, checkout: Checkout, queue: Queue
) -> None:
    nothing = "FUNCTION mark_unpublished(batch jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$"
    await engine.connection.execute(f"CREATE OR REPLACE {nothing}")
    await take_without_the_queue(checkout, queue)
    assert await republished(engine, queue) == []


async def test_control_without_reconcile_they_stay_accepted(engine: Engine, checkout: Checkout, queue: Queue) -> None:
    await take_without_the_queue(checkout, queue)
    assert published(queue) == ["first"]
    assert set((await orders(engine)).values()) == {("accepted", None)}


async def take_without_the_queue(checkout: Checkout, queue: Queue) -> None:
    """Take two orders while the queue is dead; afterwards it is back."""
    queue.kill()
    receipts = await asyncio.gather(*(checkout.accept(wanted(), key) for key in ("a", "b")))
    assert [receipt.replayed for receipt in receipts] == [False, False]
    queue.start()


async def republished(engine: Engine, queue: Queue) -> list[str]:
    """What a run of reconcile publishes; the order that went through long before isn't due."""
    database, topic = Database(engine.url), Publisher(PROJECT, "orders", queue.host)
    queue.published()
    outcome = await republish.run_once(database, topic, LIMIT)
    keys = sorted(published(queue))
    assert outcome.counts == {"claimed": len(keys), "published": len(keys)}
    await database.close()
    await topic.close()
    return keys


def bad(request: CheckoutRequest) -> CheckoutRequest:
    """A request that got past every check, and that PostgreSQL can't store."""
    return request.model_copy(update={"metadata": {"note": "\x00"}})


async def take_together(checkout: Checkout) -> list[type]:
    """Accept four orders as one batch, the third of them a bad one; what came of each."""
    requests = [wanted(), wanted(), bad(wanted()), wanted()]
    results = await asyncio.gather(
        *(checkout.accept(request, f"key-{n}") for n, request in enumerate(requests)), return_exceptions=True
    )
    return [type(result) for result in results]


async def test_control_without_splitting_one_bad_order_takes_its_batch_along(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "BadItem", ZeroDivisionError)
    assert await take_together(checkout) == [BadItem] * 4


async def test_a_bad_order_fails_alone(checkout: Checkout, engine: Engine) -> None:
    assert await take_together(checkout) == [Receipt, Receipt, BadItem, Receipt]
    assert set(await orders(engine)) == {"first", "key-0", "key-1", "key-3"}
