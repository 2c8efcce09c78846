"""Races that end at the provider: a buyer pays while the engine calls his payment off, and workers share a payment.

The real SDK and the stand-in for Stripe, whose list of movements says where the money is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest

from common.charges import Charges
from common.database import Database
from common.payments import Standing
from common.refunds import Refunds
from common.stripe_payments import StripePayments
from local.machine import HOST
from tests.conftest import Engine, order
from tests.contract.stripe_stand_in import KEY, NO_LIMITS, StandIn, running

PRICE = 3500
ROUNDS = 10
PACE, WORK_SECONDS, WAIT_SECONDS = 1000.0, 5.0, 30.0
CHALLENGED = "pm_card_threeDSecure2Required"


@pytest.fixture(scope="module")
def stripe() -> Iterator[StandIn]:
    with running(*NO_LIMITS) as stand_in:
        yield stand_in


class Hesitant(StripePayments):
    """Stops before it cancels, until it may go on."""

    def __init__(self, api_base: str) -> None:
        super().__init__(KEY, api_base)
        self.hesitates, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.may_go_on.set()

    async def cancel(self, ref: str, attempt: int) -> Standing:
        self.hesitates.set()
        await self.may_go_on.wait()
        return await super().cancel(ref, attempt)


class Shop:
    """A drop, two workers who charge for it, and the buyers of its units."""

    def __init__(self, engine: Engine, stripe: StandIn, database: Database, provider: Hesitant) -> None:
        self.engine, self.stripe, self.provider = engine, stripe, provider
        self.workers = [Charges(database, provider, PACE) for _ in range(2)]
        self.refunds = Refunds(database, provider)

    async def reserve(self, card: str) -> str:
        wanted = order(uuid4().hex, payable=True, request={"payment_method": card})
        await self.engine.accept(wanted)
        await self.engine.reserve(wanted["order_id"])
        return str(wanted["order_id"])

    async def challenge(self) -> str:
        """An order whose buyer has to act."""
        order_id = await self.reserve(CHALLENGED)
        await self.workers[0].work(WORK_SECONDS)
        assert await self.status(order_id) == "action_required"
        return order_id

    async def act(self, order_id: str) -> bool:
        """The buyer proves that he is himself; whether it was not too late for that."""
        with suppress(AssertionError):
            query = "SELECT provider_ref FROM payments WHERE order_id = $1"
            ref = await self.engine.connection.fetchval(query, order_id)
            return bool(await asyncio.to_thread(self.stripe.authenticate, ref, "succeed"))
        return False

    async def call_off(self, order_id: str) -> None:
        released = await self.engine.call("release_orders", [{"order_id": order_id, "reason": "buyer_cancelled"}])
        assert released[0]["outcome"] == "cancelling"

    async def status(self, order_id: str) -> str:
        return str(await self.engine.connection.fetchval("SELECT status FROM orders WHERE id = $1", order_id))

    def captures(self, order_id: str) -> list[int]:
        moved = self.stripe.movements()
        return [m["amount"] for m in moved if m["metadata"]["order_id"] == order_id and m["kind"] == "capture"]


@pytest.fixture
async def shop(engine: Engine, stripe: StandIn) -> AsyncIterator[Shop]:
    await engine.create_drop(price=PRICE, items={"M": 100})
    database, provider = Database(engine.url), Hesitant(f"http://{HOST}:{stripe.port}")
    yield Shop(engine, stripe, database, provider)
    await provider.close()
    await database.close()
    assert await engine.violations() == []


async def test_a_buyer_who_is_faster_than_his_cancelling_has_bought(shop: Shop) -> None:
    order_id = await shop.challenge()
    shop.provider.may_go_on.clear()
    await shop.call_off(order_id)
    work = asyncio.create_task(shop.workers[0].work(WORK_SECONDS))
    async with asyncio.timeout(WAIT_SECONDS):
        await shop.provider.hesitates.wait()  # the payment was looked up, and could still be cancelled then
    assert await shop.act(order_id)
    shop.provider.may_go_on.set()
    await work
    assert (await shop.status(order_id), shop.captures(order_id)) == ("confirmed", [PRICE])


async def test_a_buyer_who_is_slower_can_no_longer_pay(shop: Shop) -> None:
    order_id = await shop.challenge()
    await shop.call_off(order_id)
    await shop.workers[0].work(WORK_SECONDS)
    assert not await shop.act(order_id)
    assert (await shop.status(order_id), shop.captures(order_id)) == ("cancelled", [])


async def test_either_the_buyer_pays_or_the_units_go_back(shop: Shop) -> None:
    for _ in range(ROUNDS):
        order_id = await shop.challenge()
        await shop.call_off(order_id)
        acted, _ = await asyncio.gather(shop.act(order_id), shop.workers[0].work(WORK_SECONDS))
        expected = ("confirmed", [PRICE]) if acted else ("cancelled", [])
        assert (await shop.status(order_id), shop.captures(order_id)) == expected


async def test_two_workers_on_one_payment_charge_it_once(shop: Shop) -> None:
    """The claim of the first has run out while he still works."""
    for _ in range(ROUNDS):
        order_id = await shop.reserve("pm_card_visa")
        claims = {"limit": 1, "pace": PACE, "burst": 1, "lease_seconds": 0, "order_ids": [order_id]}
        first, second = [(await shop.engine.call("claim_payments", claims))["claimed"][0] for _ in range(2)]
        await asyncio.gather(shop.workers[0]._look_after(first), shop.workers[1]._look_after(second))
        assert (await shop.status(order_id), shop.captures(order_id)) == ("confirmed", [PRICE])
