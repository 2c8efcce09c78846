"""`merchdrop payments check`: finds every kind of difference that is made by hand, and tells what is none apart."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from common import stripe_payments
from common.payments import InDoubt
from common.settings import PROVIDER_PAGE
from tests.command import COLUMNS
from tests.till import Till

THREE_D_SECURE = "pm_card_authenticationRequired"
NO_ORDER = "0b9a5b0e-0000-8000-8000-000000000000"


async def sold(till: Till) -> str:
    """The confirmed one of four orders: the others are partly refunded, declined, and cancelled before any charge."""
    one, refunded, _declined = [
        await till.charged(key, card)
        for key, card in (("a", "pm_card_visa"), ("b", "pm_card_visa"), ("c", "pm_card_chargeDeclined"))
    ]
    await till.tell("order", "refund", refunded, "--amount", "1000")
    await till.tell("order", "cancel", await till.reserved("d"))
    return one


async def check(till: Till, *, status: int) -> dict[str, Any]:
    return dict(await till.tell("payments", "check", till.drop_id, status=status))


async def test_books_that_agree_are_told_to(till: Till) -> None:
    await sold(till)
    found = await check(till, status=0)
    money = {"captured_minor": 7000, "refunded_minor": 1000, "net_minor": 6000}
    assert found["here"] == {"payments": 4, **money}
    assert found["there"] == {"payments": 3, **money}  # nobody asked for the cancelled one
    assert (found["differences"], found["under_way"], found["idle"]) == ([], 0, 0)
    told = (await till.run("payments", "check", till.drop_id)).stdout
    assert told.endswith("0 differences, 0 payments under way here, 0 payments there that nobody used\n")
    assert [line.split() for line in told.splitlines() if line.startswith(("here", "there"))] == [
        ["here", "4", "7000", "1000", "6000"],
        ["there", "3", "7000", "1000", "6000"],
    ]
    assert max(map(len, told.splitlines())) <= COLUMNS


async def update(till: Till, one: str, changes: str) -> None:
    await till.engine.connection.execute(f"UPDATE payments SET {changes} WHERE order_id = '{one}'")


async def capture_there_alone(till: Till, one: str) -> None:
    await update(till, one, "state = 'cancelled', captured_minor = 0")
    await till.engine.connection.execute(f"UPDATE orders SET status = 'cancelled' WHERE id = '{one}'")


async def capture_here_alone(till: Till, one: str) -> None:
    made = till.stand_in.create(metadata={"order_id": one, "drop_id": till.drop_id})
    till.stand_in.payment_intents.cancel(made.id)
    till.stand_in.refunds.create({"payment_intent": await till.ref(one)})
    await update(till, one, f"provider_ref = '{made.id}'")


async def refund_there_alone(till: Till, one: str) -> None:
    till.stand_in.refunds.create({"payment_intent": await till.ref(one), "amount": 100})


async def refund_here_alone(till: Till, one: str) -> None:
    await update(till, one, "refunded_minor = 100")


async def another_amount(till: Till, one: str) -> None:
    await update(till, one, "amount_minor = 3600, captured_minor = 3600")


async def another_currency(till: Till, _one: str) -> None:
    await till.engine.connection.execute("UPDATE drops SET currency = 'EUR'")


async def money_for_nobody(till: Till, _one: str) -> None:
    till.stand_in.pay(metadata={"order_id": NO_ORDER, "drop_id": till.drop_id})


async def money_without_an_order_id(till: Till, _one: str) -> None:
    till.stand_in.pay(metadata={"drop_id": till.drop_id})


async def challenge_for_nobody(till: Till, _one: str) -> None:
    till.stand_in.pay(THREE_D_SECURE, metadata={"order_id": NO_ORDER, "drop_id": till.drop_id})


async def second_capture(till: Till, one: str) -> None:
    till.stand_in.pay(metadata={"order_id": one, "drop_id": till.drop_id})


async def money_beside_the_payment(till: Till, one: str) -> None:
    await second_capture(till, one)
    await capture_here_alone(till, one)


async def nothing_there(till: Till, one: str) -> None:
    await update(till, one, "provider_ref = 'pi_unknown'")


async def lost_ref(till: Till, one: str) -> None:
    await update(till, one, "provider_ref = NULL")


async def still_open(till: Till, one: str) -> None:
    """An order that ended while its buyer could still pay."""
    made = till.stand_in.pay(THREE_D_SECURE, metadata={"order_id": one, "drop_id": till.drop_id})
    await capture_there_alone(till, one)
    till.stand_in.refunds.create({"payment_intent": await till.ref(one)})
    await update(till, one, f"provider_ref = '{made.id}'")


Break = Callable[[Till, str], Awaitable[None]]
DIFFERENCES: list[tuple[Break, set[str], str]] = [
    (capture_there_alone, {"captured_there_only"}, "3500 captured there, nothing here; the order is cancelled"),
    (capture_here_alone, {"captured_here_only", "other_payment"}, "3500 captured here, nothing there"),
    (refund_there_alone, {"refunded_differs"}, "100 refunded there, 0 here"),
    (refund_here_alone, {"refunded_differs"}, "0 refunded there, 100 here"),
    (another_amount, {"wrong_amount"}, "a payment of 3500 there, of 3600 here"),
    (another_currency, {"wrong_currency"}, "USD there, EUR here"),
    (money_for_nobody, {"unknown_order"}, "no payment of ours is for this order"),
    (money_without_an_order_id, {"unknown_order"}, "3500 captured and 0 refunded there"),
    (challenge_for_nobody, {"unknown_order"}, "the payment is action_required"),
    (second_capture, {"captured_twice"}, "3500 captured and 0 refunded there, the payment is captured"),
    (money_beside_the_payment, {"captured_here_only", "other_payment"}, "the order's own payment is pi_"),
    (nothing_there, {"missing_there", "other_payment"}, "the provider does not have the payment"),
    (lost_ref, {"missing_there", "other_payment"}, "the order's own payment is not there yet"),
    (still_open, {"open_there", "other_payment"}, "the payment is action_required there and can still be paid"),
]


@pytest.mark.parametrize(("breaks", "kinds", "told"), DIFFERENCES, ids=lambda given: getattr(given, "__name__", ""))
async def test_every_kind_of_difference_is_found(till: Till, breaks: Break, kinds: set[str], told: str) -> None:
    one = await sold(till)
    await breaks(till, one)
    found = await check(till, status=1)
    assert {difference["kind"] for difference in found["differences"]} == kinds
    assert told in "\n".join(difference["text"] for difference in found["differences"])
    result = await till.run("payments", "check", till.drop_id)
    assert (result.exit_code, f"\n  {found['differences'][0]['text']}\n" in result.stdout) == (1, True)


async def test_what_is_under_way_is_no_difference(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    paid = await till.charged("paid", THREE_D_SECURE)
    await till.charged("waits", THREE_D_SECURE)
    till.stand_in.authenticate(await till.ref(paid), "succeed")  # its webhook is late
    back = await till.charged("back")
    await till.reserved("due")
    monkeypatch.setattr("common.stripe_payments.STRIPE_SECONDS", 0.5)
    till.stand_in.control("faults", {"timeout_after": 1})
    await till.tell("order", "refund", back, status=3)
    till.stand_in.control("faults", {})
    found = await check(till, status=0)
    assert (found["differences"], found["under_way"]) == ([], 4)
    assert found["here"]["net_minor"] == 3500
    under_way = {"payments": 3, "captured_minor": 7000, "refunded_minor": 3500, "net_minor": 3500}
    assert found["under_way_there"] == found["there"] == under_way
    await till.catch_up()
    found = await check(till, status=0)
    assert found["here"]["captured_minor"] == found["there"]["captured_minor"] == 10500
    assert found["here"]["net_minor"] == found["there"]["net_minor"] == 7000


async def test_payments_that_nobody_used_are_counted(till: Till) -> None:
    one = await till.charged()
    for order_id in (one, NO_ORDER):
        made = till.stand_in.create(metadata={"order_id": order_id, "drop_id": till.drop_id})
        till.stand_in.create(payment_method="pm_card_visa", metadata=made.metadata.to_dict())
        till.stand_in.payment_intents.cancel(made.id)
    till.stand_in.pay(metadata={"order_id": one, "drop_id": "another-drop"})
    found = await check(till, status=0)
    assert (found["there"]["payments"], found["there"]["captured_minor"], found["idle"]) == (5, 3500, 4)


async def test_all_pages_are_read_although_answers_get_lost(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    await till.charged()
    for _ in range(PROVIDER_PAGE):
        till.stand_in.create(payment_method="pm_card_visa", metadata={"order_id": NO_ORDER, "drop_id": till.drop_id})
    asked, lost = stripe_payments._asked, 0

    async def every_other(call: Awaitable[Any]) -> Any:
        nonlocal lost
        answer = await asked(call)
        lost += 1
        if lost % 2:
            raise InDoubt("the answer got lost")
        return answer

    monkeypatch.setattr(stripe_payments, "_asked", every_other)
    monkeypatch.setattr(stripe_payments, "DOUBT_SECONDS", 0.01)
    found = await check(till, status=0)
    assert (found["there"]["payments"], found["there"]["captured_minor"]) == (PROVIDER_PAGE + 1, 3500)
    assert (found["idle"], lost >= 4) == (PROVIDER_PAGE, True)


async def test_the_clocks_may_differ(till: Till) -> None:
    await till.charged()
    await till.engine.connection.execute("UPDATE orders SET accepted_at = accepted_at + interval '50 minutes'")
    assert (await check(till, status=0))["there"]["payments"] == 1


async def test_the_provider_of_a_local_engine_is_asked_for_its_own_database_alone(
    till: Till, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await till.charged()
    monkeypatch.delenv("MERCHDROP_STRIPE_API_KEY")
    monkeypatch.delenv("MERCHDROP_STRIPE_API_BASE")
    command = ("payments", "check", till.drop_id, "--data-dir", str(tmp_path))
    stack = {"database_url": till.engine.url, "stripe_url": till.api_base}
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    assert (await till.tell(*command))["there"]["captured_minor"] == 3500
    (tmp_path / "stack.json").write_text(json.dumps({**stack, "database_url": "postgresql://elsewhere/x"}))
    assert "no payment provider" in await till.fail(*command)


async def test_what_can_not_be_compared_is_told(till: Till, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "there is no drop 'nope'" in await till.fail("payments", "check", "nope")
    monkeypatch.setattr("common.stripe_payments.DOUBT_SECONDS", 0.01)
    till.stand_in.control("faults", {"error_500_before": 1})
    told = await till.fail("payments", "check", till.drop_id)
    assert "Stripe answered 500" in told
    assert "nothing was compared" in told
    monkeypatch.delenv("MERCHDROP_STRIPE_API_KEY")
    told = await till.fail("payments", "check", till.drop_id, "--data-dir", str(tmp_path))
    assert "MERCHDROP_STRIPE_API_KEY is not set" in told
