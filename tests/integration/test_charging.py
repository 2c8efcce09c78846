"""What charge_order does with its messages, on the real stand-in for Stripe, the real queue and real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from common import charging
from common.charges import Charges
from common.charging import Charging
from common.database import Database
from common.messages import WAKE_UP, Delivery
from common.publisher import Publisher
from common.refunds import Refunds
from common.stripe_payments import StripePayments
from local.recipes import PROJECT
from tests.conftest import Engine, order
from tests.contract.stripe_stand_in import KEY, NO_LIMITS, StandIn, running
from tests.outages import Queue, awaited

PACE = 1_000.0  # so that no test waits for it
NO_TIME = 0.05  # for a wake-up: a few payments, and many are left


@pytest.fixture
def stripe() -> Iterator[StandIn]:
    with running(*NO_LIMITS) as stripe:
        yield stripe


@pytest.fixture
async def function(engine: Engine, stripe: StandIn, queue: Queue) -> AsyncIterator[Charging]:
    """What serves charge_order."""
    database, publisher = Database(engine.url), Publisher(PROJECT, "payments", queue.host)
    provider = StripePayments(KEY, f"http://127.0.0.1:{stripe.port}")
    yield Charging(database, Charges(database, provider, PACE), Refunds(database, provider), publisher)
    await provider.close()
    await publisher.close()
    await database.close()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    queue.start()
    queue.deliver_to("http://127.0.0.1:1")
    yield queue
    queue.kill()


async def reserved(engine: Engine, count: int, method: str = "pm_card_visa", drop_id: str = "drop") -> list[str]:
    """Orders that are due to be charged."""
    await engine.create_drop(drop_id, price=3500, items={"M": count})
    wanted = [order(f"{n}", drop_id=drop_id, payable=True, request={"payment_method": method}) for n in range(count)]
    await engine.accept(*wanted)
    await engine.reserve(*(one["order_id"] for one in wanted))
    return [one["order_id"] for one in wanted]


async def statuses(engine: Engine) -> set[str]:
    return {row["status"] for row in await engine.connection.fetch("SELECT DISTINCT status FROM orders")}


def message(document: Any) -> Delivery:
    return Delivery(uuid4().hex, "2026-01-01T00:00:00Z", json.dumps(document).encode())


async def test_a_wake_up_charges_everything_that_is_due(engine: Engine, function: Charging, stripe: StandIn) -> None:
    ids = await reserved(engine, 12)
    assert await function.handle(message(WAKE_UP))
    assert await statuses(engine) == {"confirmed"}
    assert sorted(m["metadata"]["order_id"] for m in stripe.movements()) == sorted(ids)
    assert await engine.violations() == []


async def test_what_a_wake_up_leaves_is_left_to_the_next_one_which_may_come_before_it_has_ended(
    engine: Engine, function: Charging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charging, "CHARGE_SECONDS", NO_TIME)
    await reserved(engine, 40)
    woken = 0

    async def wake(_publisher: Publisher) -> bool:
        """Deliver the wake-up while it is being published, as a quick queue does."""
        nonlocal woken
        woken += 1
        return await function.handle(message(WAKE_UP))

    monkeypatch.setattr(charging, "wake_charge_order", wake)
    assert await function.handle(message(WAKE_UP))
    assert woken > 0
    assert await statuses(engine) == {"confirmed"}


async def test_a_wake_up_that_comes_while_one_is_at_work_is_acknowledged_and_not_forgotten(
    engine: Engine, function: Charging, stripe: StandIn
) -> None:
    stripe.control("faults", {"slow": 0.3})
    await reserved(engine, 1)
    first = asyncio.create_task(function.handle(message(WAKE_UP)))

    async def is_claimed() -> bool:
        return await engine.count("payments WHERE state = 'claimed'") == 1

    assert await awaited(is_claimed)
    await reserved(engine, 1, drop_id="other")
    assert await function.handle(message(WAKE_UP))
    assert await first
    assert await statuses(engine) == {"confirmed"}


async def test_without_the_queue_what_is_left_brings_the_same_wake_up_again(
    engine: Engine, function: Charging, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charging, "CHARGE_SECONDS", NO_TIME)
    await reserved(engine, 40)
    queue.kill()
    assert not await function.handle(message(WAKE_UP))


def event(**fields: Any) -> dict[str, Any]:
    told = {"event_id": "evt", "order_id": str(uuid4()), "provider_ref": "pi", "state": "captured", "captured_minor": 5}
    return {"schema_version": 1, "kind": "provider_event", **told, **fields}


@pytest.mark.parametrize(
    "document",
    [{}, [], {"kind": "other"}, {"kind": "provider_event"}, event(state="odd"), event(captured_minor=10**30), "\x00"],
)
async def test_a_message_that_is_neither_is_recorded_and_acknowledged(
    engine: Engine, function: Charging, document: Any
) -> None:
    delivery = message(document)
    assert [await function.handle(delivery) for _ in range(2)] == [True, True]
    assert await engine.count("rejected_messages WHERE topic = 'payments' AND reason = 'malformed'") == 1
