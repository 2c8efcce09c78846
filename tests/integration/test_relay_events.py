"""Events go to the topic order-events once or more, each order's in their order, with nothing personal in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from google.pubsub_v1.types import ReceivedMessage

from common.database import Database, DatabaseUnavailable
from common.publisher import Message, Publisher
from common.reconcile import relay_events
from common.settings import RECONCILE_PAUSE_SECONDS
from local.recipes import PROJECT, ROOT
from tests.conftest import Engine, order
from tests.outages import Queue, awaited

EVENTS = f"projects/{PROJECT}/subscriptions/order-events"
LIMIT = 100
ROLE = "?role=merchdrop_reconcile"
ORDERS = 30
BACKLOG = 1_000


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    queue.start()
    queue.deliver_to("http://127.0.0.1:1")
    yield queue
    queue.kill()


class Relay:
    """One instance of reconcile, as far as events go, with the rights that it has."""

    def __init__(self, url: str, host: str) -> None:
        self.database, self.publisher = Database(url + ROLE), Publisher(PROJECT, "order-events", host)

    async def run(self, limit: int = LIMIT, **bounds: int) -> tuple[dict[str, int], float | None]:
        return await relay_events.run_once(self.database, self.publisher, limit, **bounds)

    async def close(self) -> None:
        await self.publisher.close()
        await self.database.close()


@pytest.fixture
async def new_relay(engine: Engine, queue: Queue) -> AsyncIterator[Callable[[], Relay]]:
    async with AsyncExitStack() as stack:

        def make() -> Relay:
            relay = Relay(engine.url, queue.host)
            stack.push_async_callback(relay.close)
            return relay

        yield make


@pytest.fixture
def relay(new_relay: Callable[[], Relay]) -> Relay:
    return new_relay()


def published(queue: Queue) -> list[dict[str, Any]]:
    return [json.loads(one.message.data) for one in queue.take(EVENTS)]


def numbers(events: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The numbers of each order's events, in the order in which they came."""
    seen: dict[str, list[int]] = {}
    for event in events:
        seen.setdefault(event["order"]["order_id"], []).append(event["seq"])
    return seen


async def accepted(engine: Engine, *keys: str) -> list[str]:
    wanted = [order(key) for key in keys]
    await engine.accept(*wanted)
    return [one["order_id"] for one in wanted]


async def test_an_order_is_told_as_the_api_shows_it_at_each_of_its_events(
    engine: Engine, queue: Queue, relay: Relay
) -> None:
    await engine.create_drop()
    (one,) = await accepted(engine, "a")
    await engine.reserve(one)
    assert await relay.run() == ({"relayed": 3, "held_back": 0}, None)
    events = published(queue)
    assert [event["type"] for event in events] == ["order.accepted", "order.reserved", "order.confirmed"]
    assert [event["order"]["status"] for event in events] == ["accepted", "reserved", "confirmed"]
    assert len({event["event_id"] for event in events}) == 3
    accepted_at = events[0]["occurred_at"]
    assert accepted_at.endswith("+00:00")
    assert events[0]["order"] == {
        "order_id": one,
        "drop_id": "drop",
        "status": "accepted",
        "reason": None,
        "items": [{"sku": "M", "quantity": 1, "unit_price_minor": 0}],
        "amount_minor": 0,
        "currency": "USD",
        "accepted_at": events[0]["order"]["accepted_at"],
        "updated_at": accepted_at,
        "payment": None,
    }
    assert await relay.run() == ({"relayed": 0, "held_back": 0}, None)


async def test_an_event_has_the_reason_of_its_own(engine: Engine, queue: Queue, relay: Relay) -> None:
    await engine.create_drop()
    (one,) = await accepted(engine, "a")
    await engine.call("release_orders", [{"order_id": one, "reason": "buyer_cancelled"}])
    await relay.run()
    told = [(event["order"]["status"], event["order"]["reason"]) for event in published(queue)]
    assert told == [("accepted", None), ("cancelled", "buyer_cancelled")]


PERSONAL = {
    "customer": {"id": "customer-4711", "email": "somebody@example.com"},
    "payment_method": "pm_card_personal",
    "shipping": {"name": "Shipping Name", "address": {"street": "Long Way"}},
    "metadata": {"note": "private note"},
}
WORDS = ("4711", "example.com", "pm_card", "Shipping", "Long Way", "private", "client_secret", "pi_secret", "the-key")


async def test_nothing_personal_is_in_any_event(engine: Engine, queue: Queue, relay: Relay) -> None:
    await engine.create_drop(price=5)
    one = order("the-key", payable=True, request=PERSONAL)
    await engine.accept(one)
    await engine.reserve(one["order_id"])
    await engine.call("claim_payments", {"limit": 1, "pace": 1000, "burst": 9, "lease_seconds": 60})
    created = {"order_id": one["order_id"], "outcome": "created", "provider_ref": "pi"}
    action = {**created, "outcome": "action_required", "client_secret": "pi_secret_1", "retry_seconds": 9}
    await engine.call("settle_payments", [created, action])
    assert await engine.count("payments WHERE client_secret = 'pi_secret_1'") == 1  # there to be found
    await relay.run()
    messages = queue.take(EVENTS)
    assert [json.loads(m.message.data)["type"] for m in messages][-1] == "order.action_required"
    assert [word for word in WORDS for m in messages if word in str(m)] == []


async def test_the_ordering_key_is_the_orders_id(engine: Engine, queue: Queue, relay: Relay) -> None:
    await engine.create_drop()
    await engine.reserve(*await accepted(engine, "a", "b"))
    await relay.run()
    messages: list[ReceivedMessage] = queue.take(EVENTS)
    assert len(messages) == 6
    for one in messages:
        assert one.message.ordering_key == json.loads(one.message.data)["order"]["order_id"]


async def test_a_run_takes_so_many_orders_whole_the_oldest_first_and_asks_to_go_on(
    engine: Engine, queue: Queue, relay: Relay
) -> None:
    await engine.create_drop()
    ids = [(await accepted(engine, key))[0] for key in ("a", "b", "c")]
    await engine.reserve(*ids)
    assert await relay.run(2) == ({"relayed": 6, "held_back": 0}, 0)
    assert numbers(published(queue)) == {ids[0]: [1, 2, 3], ids[1]: [1, 2, 3]}
    assert await relay.run(2) == ({"relayed": 3, "held_back": 0}, None)


async def test_without_the_queue_events_are_given_back_and_go_out_in_order_when_it_returns(
    engine: Engine, queue: Queue, relay: Relay
) -> None:
    await engine.create_drop()
    (one,) = await accepted(engine, "a")
    await engine.reserve(one)
    queue.kill()
    assert await relay.run() == ({"relayed": 0, "held_back": 1}, RECONCILE_PAUSE_SECONDS)
    assert await engine.count("events WHERE leased_until IS NOT NULL OR published_at IS NOT NULL") == 0
    queue.start()

    async def relayed() -> bool:
        return (await relay.run())[0]["relayed"] == 3

    assert await awaited(relayed)
    seen = numbers(published(queue))[one]
    assert list(dict.fromkeys(seen)) == [1, 2, 3]  # the look for the queue's return may have told one before


async def test_who_dies_after_publishing_leaves_the_same_events_to_the_next(
    engine: Engine, queue: Queue, new_relay: Callable[[], Relay]
) -> None:
    await engine.create_drop()
    (one,) = await accepted(engine, "a")
    dying, other = new_relay(), new_relay()
    call = dying.database.call

    async def die(function: str, argument: Any) -> Any:
        if function == "mark_events_published":
            raise DatabaseUnavailable("dead")
        return await call(function, argument)

    dying.database.call = die  # type: ignore[method-assign]
    with pytest.raises(DatabaseUnavailable):
        await dying.run()
    await engine.reserve(one)
    assert await other.run() == ({"relayed": 0, "held_back": 0}, None)  # his lease still lasts
    await engine.connection.execute("UPDATE events SET leased_until = now() WHERE leased_until IS NOT NULL")
    assert (await other.run())[0]["relayed"] == 3
    events = published(queue)
    assert [event["seq"] for event in events] == [1, 1, 2, 3]
    assert events[0]["event_id"] == events[1]["event_id"]
    assert len({event["event_id"] for event in events}) == 3


async def meet(engine: Engine, queue: Queue, slow: Relay, quick: Relay) -> list[int]:
    """One relay is slow to publish an order's first event, and another looks while the next ones happen."""
    await engine.create_drop()
    (one,) = await accepted(engine, "a")
    is_publishing, go_on = asyncio.Event(), asyncio.Event()
    publish: Callable[[Sequence[Message]], Awaitable[None]] = slow.publisher.publish

    async def wait(messages: Sequence[Message]) -> None:
        is_publishing.set()
        await go_on.wait()
        await publish(messages)

    slow.publisher.publish = wait  # type: ignore[method-assign]
    under_way = asyncio.create_task(slow.run())
    await is_publishing.wait()
    await engine.reserve(one)
    await quick.run()
    go_on.set()
    await under_way
    await quick.run()
    return numbers(published(queue))[one]


async def test_two_relays_do_not_reorder_an_orders_events(
    engine: Engine, queue: Queue, new_relay: Callable[[], Relay]
) -> None:
    assert await meet(engine, queue, new_relay(), new_relay()) == [1, 2, 3]


async def test_control_with_leases_on_single_events_two_relays_reorder_them(
    engine: Engine, queue: Queue, new_relay: Callable[[], Relay]
) -> None:
    text = (ROOT / "migrations" / "sql" / "claim_events.sql").read_text()
    start, end = text.index("AND (SELECT before"), text.index("ORDER BY e.id")
    await engine.connection.execute(text[:start] + text[end:])
    assert await meet(engine, queue, new_relay(), new_relay()) != [1, 2, 3]


async def test_relays_at_once_lose_nothing_and_publish_each_event_once(
    engine: Engine, queue: Queue, new_relay: Callable[[], Relay]
) -> None:
    await engine.create_drop(items={"M": ORDERS})
    relays = [new_relay() for _ in range(3)]
    is_over = asyncio.Event()

    async def keep(relay: Relay) -> None:
        while not is_over.is_set():
            await relay.run(4)

    keeping = [asyncio.create_task(keep(relay)) for relay in relays]
    ids: list[str] = []
    for number in range(ORDERS):
        ids += await accepted(engine, f"{number}")
        await engine.reserve(ids[number // 2])
    await engine.reserve(*ids)
    is_over.set()
    await asyncio.gather(*keeping)
    await relays[0].run()
    assert numbers(published(queue)) == {one: [1, 2, 3] for one in ids}
    assert await engine.count("events WHERE published_at IS NULL OR leased_until IS NOT NULL") == 0


async def test_being_told_late_of_what_another_has_published_takes_nothing_from_a_third(
    engine: Engine,
) -> None:
    await engine.create_drop()
    (one,) = await accepted(engine, "a")
    bounds = {"limit": 9, "lease_seconds": 0}
    late = await engine.call("claim_events", bounds)
    await engine.reserve(one)
    assert [event["seq"] for event in await engine.call("claim_events", {**bounds, "lease_seconds": 60})] == [1, 2, 3]
    assert await engine.call("mark_events_published", [{"order_id": one, "seq": late[-1]["seq"]}]) == {"marked": 1}
    assert await engine.call("mark_events_published", [{"order_id": one, "seq": 1}]) == {"marked": 0}
    assert [event["seq"] for event in await engine.call("claim_events", bounds)] == [2, 3]


async def entries_read(engine: Engine) -> int:
    """Of the index of unpublished events, so far."""
    await engine.connection.execute("SELECT pg_stat_force_next_flush()")
    await engine.connection.execute("SELECT pg_stat_clear_snapshot()")
    query = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'events_unpublished'"
    return int(await engine.connection.fetchval(query))


async def test_of_a_long_backlog_no_more_is_read_than_is_handed_out(engine: Engine) -> None:
    await engine.create_drop(items={"M": BACKLOG})
    await accepted(engine, *(f"{number}" for number in range(BACKLOG)))
    before = await entries_read(engine)
    events = await engine.call("claim_events", {"limit": 10, "lease_seconds": 60})
    told = [{"order_id": event["order"]["order_id"], "seq": event["seq"]} for event in events]
    assert await engine.call("mark_events_published", told) == {"marked": 10}
    assert await entries_read(engine) - before < 50
