"""What charges and refunds make of a payment provider's odd days: the real SDK, the stand-in for Stripe, PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from common.charges import Charges
from common.database import Database
from common.refunds import Refunds
from common.settings import FAILURES_MAX, PAYMENTS_BURST, REFUNDS_MAX
from common.stripe_payments import StripePayments
from local.machine import free_port
from tests.conftest import Engine, order
from tests.contract.stripe_stand_in import KEY, NO_LIMITS, StandIn, running

PRICE = 3500
WORK_SECONDS = 5.0
STRIPE_SECONDS = 2.0  # above any answer of the stand-in, and soon over where it gives none
PACE = 1000.0
FAILURE_PAUSE_SECONDS = 0.2
CLAIM_ALL = {"limit": 10, "pace": PACE, "burst": 10, "lease_seconds": 60}


@pytest.fixture(scope="module")
def stripe() -> Iterator[StandIn]:
    with running(*NO_LIMITS) as stand_in:
        yield stand_in


class Shop:
    """A drop with a price, and what charges its orders."""

    def __init__(self, engine: Engine, stripe: StandIn, database: Database, provider: StripePayments) -> None:
        self.engine, self.stripe, self.database = engine, stripe, database
        self.charges, self.refunds = Charges(database, provider, PACE), Refunds(database, provider)

    async def reserve(self, card: str = "pm_card_visa") -> str:
        """A reserved order; its key is new, as the stand-in remembers the orders of other tests."""
        wanted = order(uuid4().hex, payable=True, request={"payment_method": card})
        await self.engine.accept(wanted)
        await self.engine.reserve(wanted["order_id"])
        return str(wanted["order_id"])

    async def work(self) -> None:
        """One round of looking after everything, as if all pauses and leases were over."""
        for table in ("payments", "refunds"):
            await self.engine.connection.execute(f"UPDATE {table} SET due_at = now() WHERE due_at IS NOT NULL")
        await self.charges.work(WORK_SECONDS)
        await self.refunds.work()

    async def status(self, of: str) -> str:
        return str(await self.engine.connection.fetchval("SELECT status FROM orders WHERE id = $1", of))

    def net_minor(self, of: str) -> int:
        """What the provider has kept for an order."""
        moved = [movement for movement in self.stripe.movements() if movement["metadata"]["order_id"] == of]
        return sum(m["amount"] if m["kind"] == "capture" else -m["amount"] for m in moved)

    async def ask_refund(self, of: str, **wanted: Any) -> str:
        """Write down that money is to go back; the refund's id."""
        refund_id = str(uuid4())
        answer = await self.engine.call("request_refund", {"refund_id": refund_id, "order_id": of, **wanted})
        assert answer["outcome"] == "recorded"
        return refund_id


@pytest.fixture
async def shop(engine: Engine, stripe: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr("common.stripe_payments.STRIPE_SECONDS", STRIPE_SECONDS)
    stripe.control("faults", {})
    await engine.create_drop(price=PRICE, items={"M": 100})
    database, provider = Database(engine.url), StripePayments(KEY, f"http://127.0.0.1:{stripe.port}")
    yield Shop(engine, stripe, database, provider)
    await provider.close()
    await database.close()
    assert not await engine.violations()


async def test_a_payment_that_the_provider_does_not_know_stops_nobody_else(shop: Shop) -> None:
    stranger = await shop.reserve()
    await shop.engine.call(
        "settle_payments", [{"order_id": stranger, "outcome": "created", "provider_ref": "pi_of_another_account"}]
    )
    paid = await shop.reserve()
    await shop.work()
    assert await shop.status(stranger) == "reserved"
    assert await shop.status(paid) == "confirmed"
    assert await shop.engine.count("payments WHERE last_error LIKE '%resource_missing%'") == 1


async def test_an_order_that_is_called_off_while_its_payment_is_made_is_not_charged(shop: Shop) -> None:
    called_off = await shop.reserve()
    (claimed,) = (await shop.engine.call("claim_payments", CLAIM_ALL))["claimed"]
    assert claimed["order_id"] == called_off
    cancelled = await shop.engine.call("release_orders", [{"order_id": called_off, "reason": "buyer_cancelled"}])
    assert cancelled[0]["outcome"] == "cancelling"
    # whoever has the claim comes to know of it when he stores what he made
    made: dict[str, Any] = {"order_id": called_off, "outcome": "created", "provider_ref": "pi_made_too_late"}
    assert (await shop.engine.call("settle_payments", [made]))[0]["outcome"] == "over"
    await shop.work()
    assert await shop.status(called_off) == "cancelled"


async def test_a_clock_that_was_set_back_stops_no_payment(shop: Shop) -> None:
    paid = await shop.reserve()
    await shop.engine.connection.execute("UPDATE payment_pace SET tokens = 0, at = now() + interval '1 hour'")
    await shop.work()
    assert await shop.status(paid) == "confirmed"


@pytest.mark.parametrize("last", [0, 1])
async def test_units_go_back_on_sale_with_the_last_of_the_money_whichever_refund_that_is(shop: Shop, last: int) -> None:
    refunded = await shop.reserve()
    await shop.work()
    refunds = [await shop.ask_refund(refunded, amount_minor=500), await shop.ask_refund(refunded, restock=True)]
    for refund_id in (refunds[1 - last], refunds[last]):
        await shop.refunds.work([refund_id])
    assert await shop.status(refunded) == "refunded"
    assert shop.net_minor(refunded) == 0
    assert await shop.engine.count("items WHERE sold = 0 AND reserved = 0") == 1


async def test_a_refund_whose_answer_got_lost_is_not_made_again_a_day_later(shop: Shop) -> None:
    partly = await shop.reserve()
    await shop.work()
    await shop.ask_refund(partly, amount_minor=500)
    shop.stripe.control("faults", {"timeout_after": 1})
    await shop.work()
    assert shop.net_minor(partly) == PRICE - 500
    shop.stripe.control("faults", {})
    shop.stripe.control("clock", {"advance_seconds": 25 * 3600})  # its idempotency key is forgotten
    await shop.work()
    assert shop.net_minor(partly) == PRICE - 500
    assert await shop.engine.count("refunds WHERE state = 'succeeded'") == 1


async def test_a_refund_that_has_failed_at_stripe_is_not_taken_for_made(shop: Shop) -> None:
    kept = await shop.reserve()
    await shop.work()
    refund_id = await shop.ask_refund(kept)
    failed = {"id": "re_failed", "object": "refund", "status": "failed", "metadata": {"refund_id": refund_id}}
    async with answering({"POST": failed, "GET": {"object": "list", "has_more": False, "data": [failed]}}) as port:
        provider = StripePayments(KEY, f"http://127.0.0.1:{port}")
        await Refunds(shop.database, provider).work()
        await provider.close()
    assert await shop.status(kept) == "confirmed"
    assert await shop.engine.count("refunds WHERE state = 'failed'") == 1
    assert await shop.engine.connection.fetchval("SELECT refunded_minor FROM payments") == 0


@asynccontextmanager
async def answering(answers: dict[str, Any]) -> AsyncIterator[int]:
    """A Stripe that gives one answer to each method, as the stand-in's banks never fail a refund; its port."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(answers[request.method])

    app = web.Application()
    app.router.add_route("*", "/v1/refunds", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


async def test_refunds_that_nobody_answers_hold_nothing_up_for_long(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.refunds.REFUND_SECONDS", STRIPE_SECONDS / 2)
    asked = [await shop.reserve() for _ in range(REFUNDS_MAX + 1)]
    await shop.work()
    for refunded in asked:
        await shop.ask_refund(refunded)
    shop.stripe.control("faults", {"timeout_before": 1})
    assert await shop.refunds.work() == REFUNDS_MAX
    shop.stripe.control("faults", {})
    await shop.work()
    await shop.work()
    assert [shop.net_minor(refunded) for refunded in asked] == [0] * len(asked)


async def test_a_provider_that_is_down_is_tried_with_one_order_at_a_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.charges.FAILURE_PAUSE_SECONDS", FAILURE_PAUSE_SECONDS)
    waiting = [await shop.reserve() for _ in range(70)]
    shop.stripe.control("faults", {"rate_limit": 1})
    for _ in range(3):
        await shop.charges.work(5 * FAILURE_PAUSE_SECONDS)
    attempts = await shop.engine.connection.fetchval("SELECT sum(attempt) FROM payments")
    assert attempts < FAILURES_MAX + PAYMENTS_BURST + 3 * 5 + 1
    shop.stripe.control("faults", {})
    await shop.charges.work(WORK_SECONDS)
    await shop.work()
    assert [shop.net_minor(paid) for paid in waiting] == [PRICE] * len(waiting)
