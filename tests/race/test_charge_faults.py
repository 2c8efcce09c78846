"""A crowd pays while Stripe fails in every way it knows: afterwards its list of movements has what the orders say.

Two instances and reconcile share the work, on leases that run out under their hands; webhooks come through checkout and
the queue: late, twice, in another order, or not at all; buyers cancel, come late, and get money back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from common.charges import Charges
from common.charging import Charging
from common.database import Database
from common.messages import parse_push
from common.publisher import Publisher
from common.reconcile import expire_holds, look_up
from common.refunds import Refunds
from common.settings import FAILURES_MAX, PAYMENTS_TOPIC
from common.stripe_payments import StripePayments
from common.wake_up import wake_charge_order
from local.machine import HOST, free_port
from local.postgres import Postgres
from local.recipes import PROJECT
from local.topology import ensure_topology
from tests.conftest import Engine, execute
from tests.contract.stripe_stand_in import KEY, NO_LIMITS, WEBHOOK_SECRET, StandIn, running
from tests.outages import Queue, awaited
from tests.race.careless import CarelessPayments
from tests.serving import serve

SEEDS = range(3)
ORDERS, STOCK, PRICE = 60, 70, 3500
HOLD_SECONDS = 2
END_SECONDS = 120.0
POLL_SECONDS = 0.05
PACE = 200.0
FAULTS = {
    "timeout_before": 0.04,
    "timeout_after": 0.04,
    "error_500_before": 0.06,
    "error_500_after": 0.06,
    "rate_limit": 0.08,
    "lock_timeout": 0.05,
    "decline": 0.05,
    "slow": 0.02,
    "webhook_loss": 0.3,
    "webhook_duplicate": 0.3,
    "webhook_delay": 1.0,
    "webhook_reorder": 0.5,
}
# The product's own pauses, so short that an order is through within seconds; and a lease that is shorter than the work.
PAUSES = {
    "stripe_payments.STRIPE_SECONDS": 1.0,
    "charges.ONE_CHARGE_SECONDS": 4.0,
    "charges.LEASE_SECONDS": 1,
    "payments.DOUBT_SECONDS": 0.1,
    "payments.DOUBT_SECONDS_MAX": 1.0,
    "charges.ACTION_LOOK_SECONDS": 0.5,
    "charges.FAILURE_PAUSE_SECONDS": 0.1,
    "refunds.ONE_CHARGE_SECONDS": 4.0,
    "refunds.LEASE_SECONDS": 1,
    "charging.CHARGE_SECONDS": 1.0,
}
CARDS = [
    *["pm_card_visa"] * 5,
    "pm_card_visa_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    *["pm_card_authenticationRequired"] * 4,
    "pm_card_threeDSecureRequiredChargeDeclined",
]
FINAL = ("confirmed", "declined", "expired", "cancelled", "sold_out", "refunded")


@dataclass(frozen=True)
class Parts:
    """What stands for all seeds: a database, a queue, checkout, Stripe, and where charge_order is to listen."""

    database_url: str
    queue_host: str
    checkout_url: str
    charge_port: int
    stripe: StandIn


@pytest.fixture(scope="module")
def parts(postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    name, charge_port, stripe_port = f"test_{uuid4().hex}", free_port(), free_port()
    asyncio.run(execute(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))
    directory: Path = tmp_path_factory.mktemp("queue")
    queue = Queue(directory)
    queue.start()
    ensure_topology(
        queue.host, PROJECT, {"process-order": "http://127.0.0.1:1", "charge-order": f"http://{HOST}:{charge_port}"}
    )
    try:
        with serve(
            "checkout",
            postgres.url(name),
            PUBSUB_EMULATOR_HOST=queue.host,
            MERCHDROP_PAYMENT_PROVIDER="stripe",
            MERCHDROP_STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        ) as checkout_url:
            webhooks = ("--webhook-url", f"{checkout_url}/v1/webhooks/stripe", "--webhook-secret", WEBHOOK_SECRET)
            with running(*NO_LIMITS, *webhooks, port=stripe_port) as stripe:
                yield Parts(postgres.url(name), queue.host, checkout_url, charge_port, stripe)
    finally:
        queue.kill()


class Sale:
    """A drop, its buyers, and those who charge them."""

    def __init__(self, parts: Parts, seed: int, books: asyncpg.Connection[Any], http: aiohttp.ClientSession) -> None:
        self.drop_id, self.draw = f"drop-{uuid4().hex[:8]}", random.Random(seed)
        self._parts, self._engine, self._http = parts, Engine(books, ""), http
        self._gate = asyncio.Lock()  # asyncpg's connection takes one statement at a time
        self.promised: dict[str, int] = {}  # money that operators promised to give back, for each order

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self._gate:
            return list(await self._engine.connection.fetch(query, *arguments))

    async def call(self, function: str, argument: Any) -> Any:
        async with self._gate:
            return await self._engine.call(function, argument)

    async def open(self, hold_seconds: int) -> None:
        items = [{"sku": "M", "stock": STOCK, "unit_price_minor": PRICE}]
        wanted = {"id": self.drop_id, "currency": "USD", "hold_seconds": hold_seconds, "items": items}
        await self.call("create_drop", wanted)

    async def buy(self) -> None:
        """One order, from its checkout to what its buyer does about it."""
        card, quantity = self.draw.choice(CARDS), self.draw.randint(1, 3)
        acts = self.draw.choice(["succeed", "succeed", "fail", None])
        changes_his_mind = self.draw.random() < 0.15
        seconds, refund = self.draw.uniform(0, HOLD_SECONDS), self.draw.random() < 0.3
        order_id = await self.order(card, quantity)
        if changes_his_mind:
            await asyncio.sleep(seconds)
            async with self._http.post(f"/v1/orders/{order_id}/cancel") as answer:
                assert answer.status in (200, 409)
        if await self.becomes(order_id, ("action_required", *FINAL)) == "action_required" and acts:
            await asyncio.sleep(seconds)
            (row,) = await self.fetch("SELECT provider_ref FROM payments WHERE order_id = $1", order_id)
            path = f"/_control/payment_intents/{row['provider_ref']}/authenticate"
            await asyncio.to_thread(
                self._parts.stripe.raw, "POST", path, f'{{"outcome": "{acts}"}}', Content_Type="application/json"
            )
        if await self.becomes(order_id, FINAL) == "confirmed" and refund:
            await self.give_back(order_id, PRICE * quantity)

    async def order(self, card: str, quantity: int) -> str:
        """An order that is taken and decided; its id."""
        body = {"drop_id": self.drop_id, "customer": {"id": "c"}, "items": [{"sku": "M", "quantity": quantity}]}
        headers = {"Idempotency-Key": uuid4().hex}
        async with self._http.post("/v1/checkout", json=body | {"payment_method": card}, headers=headers) as answer:
            order_id = str((await answer.json())["order_id"])
        await self.call("reserve_orders", [{"order_id": order_id}])
        return order_id

    async def give_back(self, order_id: str, amount_minor: int) -> None:
        """Two operators want to give half of it back, or one and a half times all of it."""
        part = self.draw.choice([amount_minor // 4, amount_minor // 2, amount_minor * 3 // 4, amount_minor])
        for _ in range(2):
            wanted = {"refund_id": str(uuid4()), "order_id": order_id, "amount_minor": part}
            if (await self.call("request_refund", wanted))["outcome"] == "recorded":
                self.promised[order_id] = self.promised.get(order_id, 0) + part

    async def becomes(self, order_id: str, states: tuple[str, ...]) -> str:
        while True:
            (row,) = await self.fetch("SELECT status FROM orders WHERE id = $1", order_id)
            if row["status"] in states:
                return str(row["status"])
            await asyncio.sleep(POLL_SECONDS)

    async def end(self) -> None:
        """Wait until nobody has anything left to do."""
        query = """SELECT NOT EXISTS (SELECT 1 FROM payments WHERE due_at IS NOT NULL AND drop_id = $1)
                      AND NOT EXISTS (SELECT 1 FROM refunds WHERE due_at IS NOT NULL)"""

        async def look() -> bool:
            return bool((await self.fetch(query, self.drop_id))[0][0])

        await awaited(look, END_SECONDS)

    async def moved(self, kind: str) -> dict[str, list[int]]:
        """What Stripe moved of the money of this drop's orders."""
        moved: dict[str, list[int]] = {}
        for movement in await asyncio.to_thread(self._parts.stripe.movements):
            if movement["kind"] == kind and movement["metadata"]["drop_id"] == self.drop_id:
                moved.setdefault(movement["metadata"]["order_id"], []).append(movement["amount"])
        return moved

    async def check(self) -> None:
        """Stripe's own list against the books."""
        captured, returned = await self.moved("capture"), await self.moved("refund")
        orders = await self.fetch("SELECT id::text, status, amount_minor FROM orders WHERE drop_id = $1", self.drop_id)
        for order_id, status, amount_minor in orders:
            assert status in FINAL
            if status in ("confirmed", "refunded"):
                assert captured.get(order_id) == [amount_minor]
                assert sum(returned.get(order_id, [])) == self.promised.get(order_id, 0)
                assert (status == "refunded") == (self.promised.get(order_id) == amount_minor)
            else:
                assert captured.get(order_id, []) == returned.get(order_id, [])
        sold = sum(row["amount_minor"] for row in orders if row["status"] in ("confirmed", "refunded")) // PRICE
        (item,) = await self.fetch("SELECT reserved, sold FROM items WHERE drop_id = $1", self.drop_id)
        assert (item["reserved"], item["sold"]) == (0, sold)
        assert await self.fetch("SELECT * FROM audit_violations") == []
        assert await self.fetch("SELECT 1 FROM refunds WHERE state <> 'succeeded'") == []


@asynccontextmanager
async def charging(parts: Parts, provider_class: type[StripePayments] = StripePayments) -> AsyncIterator[set[int]]:
    """Two instances of charge_order take turns at the queue's messages, and reconcile runs all the time.

    Yields what they answered to messages.
    """
    async with AsyncExitStack() as stack:
        database, publisher = Database(parts.database_url), Publisher(PROJECT, PAYMENTS_TOPIC, parts.queue_host)
        stack.push_async_callback(database.close)
        stack.push_async_callback(publisher.close)

        def workers() -> tuple[Charges, Refunds]:
            provider = provider_class(KEY, f"http://{HOST}:{parts.stripe.port}")
            stack.push_async_callback(provider.close)
            return Charges(database, provider, PACE), Refunds(database, provider)

        instances = cycle([Charging(database, *workers(), publisher) for _ in range(2)])
        answers: set[int] = set()

        async def push(request: web.Request) -> web.Response:
            answer = 204 if await next(instances).handle(parse_push(await request.read())) else 503
            answers.add(answer)
            return web.Response(status=answer)

        async def reconcile(charges: Charges, refunds: Refunds) -> None:
            while True:
                await expire_holds.run_once(database, publisher, ORDERS)
                await look_up.run_once(charges, refunds, 1.0)
                await wake_charge_order(publisher)
                await asyncio.sleep(POLL_SECONDS)

        app = web.Application()
        app.router.add_post("/", push)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, HOST, parts.charge_port).start()
        stack.push_async_callback(runner.cleanup)
        reconciling = asyncio.create_task(reconcile(*workers()))
        try:
            yield answers
        finally:
            reconciling.cancel()
            with suppress(asyncio.CancelledError):
                await reconciling


@asynccontextmanager
async def selling(parts: Parts, seed: int, hold_seconds: int = HOLD_SECONDS) -> AsyncIterator[Sale]:
    """A sale that is over within END_SECONDS."""
    books = await asyncpg.connect(parts.database_url)
    try:
        # a new connection each time: checkout may close one that waits just when a buyer takes it
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(parts.checkout_url, connector=connector) as http, asyncio.timeout(END_SECONDS):
            sale = Sale(parts, seed, books, http)
            await sale.open(hold_seconds)
            yield sale
    finally:
        await books.close()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in PAUSES.items():
        monkeypatch.setattr(f"common.{name}", seconds)


@pytest.mark.usefixtures("short_pauses")
async def test_a_careless_provider_charges_twice(parts: Parts) -> None:
    parts.stripe.control("faults", {"timeout_after": 0.2, "error_500_after": 0.2})
    async with selling(parts, 0, hold_seconds=600) as sale, charging(parts, CarelessPayments):
        for _ in range(20):
            await sale.order("pm_card_visa", 1)
        await sale.end()
        assert max(len(amounts) for amounts in (await sale.moved("capture")).values()) > 1


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_stripe_does_money_and_units_change_hands_together(parts: Parts, seed: int) -> None:
    parts.stripe.control("faults", FAULTS | {"seed": seed})
    async with selling(parts, seed) as sale, charging(parts):
        await asyncio.gather(*(sale.buy() for _ in range(ORDERS)))
        await sale.end()
        await sale.check()


@pytest.mark.usefixtures("short_pauses")
async def test_while_stripe_is_away_messages_are_acknowledged_and_afterwards_all_is_charged(parts: Parts) -> None:
    parts.stripe.control("faults", {})
    async with selling(parts, 0, hold_seconds=600) as sale, charging(parts) as answers:
        with parts.stripe.away():
            orders = [await sale.order("pm_card_visa", 1) for _ in range(ORDERS)]
            in_doubt = "SELECT 1 FROM payments WHERE drop_id = $1 AND last_error IS NOT NULL OFFSET $2"
            await awaited(lambda: sale.fetch(in_doubt, sale.drop_id, FAILURES_MAX - 1), END_SECONDS)
        await sale.end()
        await sale.check()
        assert set(await sale.moved("capture")) == set(orders)
        assert answers == {204}
