"""`merchdrop order cancel`, on a real database and at the stand-in for Stripe: every state that an order may be in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.till import Till

THREE_D_SECURE = "pm_card_authenticationRequired"


@pytest.mark.parametrize("state", ["accepted", "reserved"])
async def test_an_order_that_nobody_charged_is_cancelled_without_the_provider(
    till: Till, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MERCHDROP_STRIPE_API_KEY")
    one = await (till.accepted() if state == "accepted" else till.reserved())
    shown = await till.tell("order", "cancel", one)
    assert (shown["order_id"], shown["status"], shown["reason"]) == (one, "cancelled", "operator")
    assert (await till.run("order", "cancel", one)).stdout == f"{one} is cancelled\n"
    assert await till.available() == 10
    assert await till.engine.violations() == []


async def test_a_payment_that_waits_for_its_buyer_is_called_off_there_first(till: Till) -> None:
    one = await till.charged(card=THREE_D_SECURE)
    assert await till.status(one) == "action_required"
    assert (await till.tell("order", "cancel", one))["status"] == "cancelled"
    assert till.stand_in.payment_intents.retrieve(await till.ref(one)).status == "canceled"
    assert (await till.available(), till.moved(one)) == (10, [])
    assert await till.engine.violations() == []


async def test_money_that_came_meanwhile_is_not_lost_sight_of(till: Till) -> None:
    one = await till.charged(card=THREE_D_SECURE)
    till.stand_in.authenticate(await till.ref(one), "succeed")  # and its webhook is late
    told = await till.fail("order", "cancel", one)
    assert f"order {one} is confirmed" in told
    assert f"merchdrop order refund {one}" in told
    assert (await till.status(one), till.moved(one)) == ("confirmed", [("capture", 3500)])


async def test_too_late_names_the_refund_and_changes_nothing(till: Till) -> None:
    one = await till.charged()
    assert f"merchdrop order refund {one}" in await till.fail("order", "cancel", one, "--json")
    assert (await till.status(one), await till.available()) == ("confirmed", 9)


async def test_a_free_order_that_is_confirmed_has_nothing_to_refund(till: Till) -> None:
    free = await till.free_order()
    told = await till.fail("order", "cancel", free)
    assert "too late" in told
    assert "refund" not in told


async def test_orders_that_are_over_are_told_to_be(till: Till) -> None:
    one = await till.charged(card="pm_card_chargeDeclined")
    assert (await till.run("order", "cancel", one)).stdout == f"{one} is declined: there is nothing to cancel\n"
    refunded = await till.charged("b")
    await till.tell("order", "refund", refunded)
    assert (await till.run("order", "cancel", refunded)).exit_code == 0
    assert "no order" in await till.fail("order", "cancel", "0b9a5b0e-0000-8000-8000-000000000000")


@pytest.mark.parametrize("trouble", ["error_500_before", "error_500_after", "timeout_after", "rate_limit"])
async def test_a_provider_that_does_not_answer_leaves_it_to_reconcile(
    till: Till, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.stripe_payments.STRIPE_SECONDS", 0.5)
    one = await till.charged(card=THREE_D_SECURE)
    till.stand_in.control("faults", {trouble: 1})
    assert (await till.tell("order", "cancel", one, status=3))["status"] == "action_required"
    result = await till.run("order", "cancel", one)
    assert (result.exit_code, "reconcile goes on" in result.stdout) == (3, True)
    assert await till.available() == 9
    till.stand_in.control("faults", {})
    await till.catch_up()
    assert (await till.status(one), await till.available(), till.moved(one)) == ("cancelled", 10, [])


async def test_without_a_provider_it_is_left_to_reconcile(
    till: Till, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = await till.charged(card=THREE_D_SECURE)
    monkeypatch.delenv("MERCHDROP_STRIPE_API_KEY")
    result = await till.run("order", "cancel", one, "--data-dir", str(tmp_path))
    assert (result.exit_code, "MERCHDROP_STRIPE_API_KEY is not set" in result.stderr) == (3, True)
    await till.catch_up()
    assert await till.status(one) == "cancelled"


async def test_a_payment_that_the_provider_does_not_know_stays_in_doubt(till: Till) -> None:
    one = await till.charged(card=THREE_D_SECURE)
    await till.engine.connection.execute("UPDATE payments SET provider_ref = 'pi_unknown'")
    shown = await till.tell("order", "cancel", one, status=3)
    assert "404" in shown["payment"]["last_error"]
    assert await till.available() == 9
