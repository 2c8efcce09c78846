"""Amounts are integers in minor units from the drop to the provider: yen have none, and there is a largest amount."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from common.charges import Charges
from common.database import Database
from common.refunds import Refunds
from common.stripe_payments import StripePayments
from local.machine import HOST
from tests.conftest import Engine, order
from tests.contract.stripe_stand_in import KEY, NO_LIMITS, StandIn, running

LARGEST_MINOR = 99_999_999  # what Stripe takes in one payment
WORK_SECONDS, PACE = 5.0, 1000.0


@pytest.fixture(scope="module")
def stripe() -> Iterator[StandIn]:
    with running(*NO_LIMITS) as stand_in:
        yield stand_in


class Shop:
    """What sells and charges."""

    def __init__(self, engine: Engine, stripe: StandIn, charges: Charges, refunds: Refunds) -> None:
        self.engine, self.stripe, self.charges, self.refunds = engine, stripe, charges, refunds

    async def sell(self, currency: str, items: dict[str, int], prices: dict[str, int]) -> tuple[str, str]:
        """The id and the status of a new drop's only order, once it was charged."""
        drop_id = f"drop-{uuid4().hex}"
        wanted = [{"sku": sku, "stock": 5, "unit_price_minor": price} for sku, price in prices.items()]
        await self.engine.call("create_drop", {"id": drop_id, "currency": currency, "items": wanted})
        one = order("key", items, drop_id=drop_id, payable=True, request={"payment_method": "pm_card_visa"})
        await self.engine.accept(one)
        assert set((await self.engine.reserve(one["order_id"])).values()) == {"reserved"}
        await self.charges.work(WORK_SECONDS)
        order_id = str(one["order_id"])
        query = "SELECT concat_ws(' ', status, reason) FROM orders WHERE id = $1"
        return order_id, str(await self.engine.connection.fetchval(query, order_id))

    def movements(self, order_id: str) -> list[tuple[str, int, str]]:
        """Kind, amount and currency of whatever money moved at the provider for an order."""
        moved = self.stripe.movements()
        return [(m["kind"], m["amount"], m["currency"]) for m in moved if m["metadata"]["order_id"] == order_id]


@pytest.fixture
async def shop(engine: Engine, stripe: StandIn) -> AsyncIterator[Shop]:
    database, provider = Database(engine.url), StripePayments(KEY, f"http://{HOST}:{stripe.port}")
    yield Shop(engine, stripe, Charges(database, provider, PACE), Refunds(database, provider))
    await provider.close()
    await database.close()
    assert await engine.violations() == []


@pytest.mark.parametrize("currency", ["JPY", "USD", "EUR"])
async def test_an_amount_is_the_drops_number_in_the_drops_currency(shop: Shop, currency: str) -> None:
    order_id, status = await shop.sell(currency, {"A": 2, "B": 1}, {"A": 200, "B": 100})
    assert status == "confirmed"
    refund = {"refund_id": str(uuid4()), "order_id": order_id, "amount_minor": 1}
    assert (await shop.engine.call("request_refund", refund))["outcome"] == "recorded"
    await shop.refunds.work()
    code = currency.lower()
    assert shop.movements(order_id) == [("capture", 500, code), ("refund", 1, code)]


async def test_the_largest_amount_is_charged(shop: Shop) -> None:
    order_id, status = await shop.sell("USD", {"A": 1}, {"A": LARGEST_MINOR})
    assert status == "confirmed"
    assert shop.movements(order_id) == [("capture", LARGEST_MINOR, "usd")]


async def test_an_amount_above_that_is_declined_and_holds_nothing(shop: Shop) -> None:
    order_id, status = await shop.sell("USD", {"A": 1, "B": 1}, {"A": LARGEST_MINOR, "B": 1})
    assert status == "declined card_declined"
    assert shop.movements(order_id) == []
    assert await shop.engine.count("items WHERE reserved > 0 OR sold > 0") == 0
