"""charge_order killed at every boundary to PostgreSQL and Stripe: before a call, and before its answer.

The real function under functions-framework, started anew after each crash; what the stand-in says of the money is true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from local.postgres import Postgres
from tests.conftest import Engine, execute
from tests.contract.stripe_stand_in import NO_LIMITS, running
from tests.race.crossings import Side
from tests.race.killing import PRICE, UNITS, WAKE_UP, Shop, charging
from tests.serving import ROOT

AMOUNT = PRICE * UNITS
STOCK = 500
DAY_SECONDS = 25 * 3600  # after which Stripe has forgotten an idempotency key
CAREFUL = ROOT / "functions" / "charge_order" / "main.py"
CARELESS = Path(__file__).parent / "careless_charge_order.py"

MADE = ("claim_payments", "create", "settle_payments created", "confirm")
ASKED = (*MADE, "settle_payments action_required", "claim_refunds")
CALLED_OFF = ("claim_payments", "retrieve", "cancel", "settle_payments cancelled", "claim_refunds")


def nothing(_shop: Shop, _order_id: str) -> None:
    """Nothing happens while charge_order is dead."""


def a_day_passes(shop: Shop, _order_id: str) -> None:
    shop.stripe.control("clock", {"advance_seconds": DAY_SECONDS})


def buyer_cancels(shop: Shop, order_id: str) -> None:
    shop.call("release_orders", [{"order_id": order_id, "reason": "buyer_cancelled"}])


def hold_runs_out(shop: Shop, order_id: str) -> dict[str, Any]:
    shop.execute("UPDATE orders SET hold_expires_at = now() WHERE id = $1", order_id)
    shop.call("expire_holds", {"limit": 10})
    return WAKE_UP


def buyer_changes_his_mind(shop: Shop, order_id: str) -> dict[str, Any]:
    buyer_cancels(shop, order_id)
    return WAKE_UP


def buyer_authenticates(shop: Shop, order_id: str) -> dict[str, Any]:
    """What the webhook says then."""
    ref = shop.value("SELECT provider_ref FROM payments WHERE order_id = $1", order_id)
    shop.stripe.authenticate(ref, "succeed")
    told = {"event_id": "evt_1", "order_id": order_id, "provider_ref": ref, "state": "captured"}
    return {"schema_version": 1, "kind": "provider_event", "captured_minor": AMOUNT, **told}


def buyer_authenticates_too_late(shop: Shop, order_id: str) -> dict[str, Any]:
    """The units are gone, though nobody has called the payment off: nothing in the engine does that."""
    ref = shop.value("SELECT provider_ref FROM payments WHERE order_id = $1", order_id)
    shop.call("settle_payments", [{"order_id": order_id, "outcome": "cancelled", "provider_ref": ref}])
    return buyer_authenticates(shop, order_id)


@dataclass(frozen=True)
class Case:
    """The life of an order, and every crossing in it.

    `first` and `last` bound the crashes: crash 2n is before crossing n, crash 2n + 1 is after it.
    """

    card: str
    crossings: tuple[str, ...]
    final: str
    moved: tuple[tuple[str, int], ...] = ()
    act: Callable[[Shop, str], dict[str, Any]] | None = None  # what happens once the buyer has to act
    meanwhile: Callable[[Shop, str], None] = nothing
    first: int = 0  # what comes before is as in another case
    last: int | None = None


CAPTURED = ("capture", AMOUNT)
CHALLENGED = "pm_card_authenticationRequired"
PAID = (*MADE, "settle_payments captured", "claim_refunds")
PAID_TOO_LATE = ("settle_payments captured", "claim_refunds", "refund", "settle_refunds")
CHARGED = 2 * MADE.index("confirm") + 1
CASES = {
    "success": Case("pm_card_visa", PAID, "confirmed", (CAPTURED,)),
    "success a day later": Case("pm_card_visa", PAID, "confirmed", (CAPTURED,), meanwhile=a_day_passes, first=2),
    "decline": Case(
        "pm_card_visa_chargeDeclined",
        (*MADE, "retrieve", "cancel", "settle_payments declined", "claim_refunds"),
        "declined",
        first=CHARGED - 1,
    ),
    "authenticated": Case(
        CHALLENGED,
        (*ASKED, "settle_payments captured"),
        "confirmed",
        (CAPTURED,),
        buyer_authenticates,
        first=CHARGED - 1,
    ),
    "expired": Case(CHALLENGED, (*ASKED, *CALLED_OFF), "expired", act=hold_runs_out, first=2 * len(ASKED)),
    "cancelled": Case(
        CHALLENGED, (*ASKED, *CALLED_OFF), "cancelled", act=buyer_changes_his_mind, first=2 * len(ASKED) + 4
    ),
    "cancelled in time": Case("pm_card_visa", PAID, "cancelled", meanwhile=buyer_cancels, last=CHARGED),
    "cancelled too late": Case("pm_card_visa", PAID, "confirmed", (CAPTURED,), meanwhile=buyer_cancels, first=CHARGED),
    "refunded": Case(
        CHALLENGED,
        (*ASKED, *PAID_TOO_LATE),
        "refunded",
        (CAPTURED, ("refund", AMOUNT)),
        buyer_authenticates_too_late,
        a_day_passes,
        first=2 * len(ASKED),
    ),
}
SIDES: tuple[Side, Side] = ("before", "after")
CRASHES = [
    pytest.param(case, number // 2, SIDES[number % 2], id=f"{name}: {SIDES[number % 2]} {case.crossings[number // 2]}")
    for name, case in CASES.items()
    for number in range(2 * len(case.crossings))[case.first : case.last]
]


@pytest.fixture(scope="module")
def shop(postgres: Postgres, template: str) -> Iterator[Shop]:
    name = f"test_{uuid4().hex}"
    with asyncio.Runner() as runner, running(*NO_LIMITS) as stripe:
        runner.run(execute(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))
        connection = runner.run(asyncpg.connect(postgres.url(name)))
        shop = Shop(Engine(connection, postgres.url(name)), runner, stripe)
        shop.run(shop.engine.create_drop(price=PRICE, items={"M": STOCK}))
        try:
            yield shop
        finally:
            shop.stop()
            runner.run(connection.close())


@pytest.fixture(scope="module")
def careful(shop: Shop) -> Iterator[Shop]:
    with charging(shop, CAREFUL):
        yield shop


def play(shop: Shop, case: Case, place: tuple[int, Side] | None = None) -> str:
    """Bring an order to its end, with a crash at a place; its id."""
    order_id = shop.reserve(case.card)
    shop.border.arm(place)
    if case.act:
        shop.reach(order_id, "action_required", WAKE_UP, case.meanwhile)
    shop.reach(order_id, case.final, case.act(shop, order_id) if case.act else WAKE_UP, case.meanwhile)
    return order_id


@pytest.mark.parametrize(
    ("environment", "meanwhile"),
    [pytest.param({}, nothing, id="no key"), pytest.param({"KEEPS_KEY": "yes"}, a_day_passes, id="a day later")],
)
def test_a_provider_that_creates_and_confirms_in_one_call_charges_twice(
    shop: Shop, environment: dict[str, str], meanwhile: Callable[[Shop, str], None]
) -> None:
    with charging(shop, CARELESS, **environment):
        case = Case("pm_card_visa", PAID, "confirmed", meanwhile=meanwhile)
        charged_twice = play(shop, case, (PAID.index("create"), "after"))
    assert shop.moved(charged_twice) == [CAPTURED, CAPTURED]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.meanwhile is not buyer_cancels])
def test_an_order_crosses_the_border_where_we_think(careful: Shop, name: str) -> None:
    case = CASES[name]
    order_id = play(careful, case)
    assert tuple(careful.border.crossings) == case.crossings
    assert (careful.status(order_id), careful.moved(order_id)) == (case.final, list(case.moved))


@pytest.mark.parametrize(("case", "index", "side"), CRASHES)
def test_a_crash_at_any_boundary_costs_nobody_money_or_units(careful: Shop, case: Case, index: int, side: Side) -> None:
    order_id = play(careful, case, (index, side))
    assert careful.border.crossings[: index + 1] == list(case.crossings[: index + 1])
    assert careful.border.crashes == 1
    careful.push(WAKE_UP)  # once more, to no effect
    assert (careful.status(order_id), careful.moved(order_id)) == (case.final, list(case.moved))
    assert careful.is_settled(order_id)
    sold = UNITS * careful.value("SELECT count(*) FROM orders WHERE status = 'confirmed'")
    assert careful.value("SELECT (reserved, sold)::text FROM items") == f"(0,{sold})"
    assert careful.violations() == []
