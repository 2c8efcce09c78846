"""`merchdrop order refund` and `order show`, on a real database and at the stand-in for Stripe.

The stand-in's list of movements is the truth: whatever fails, each refund that is written down moves money once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.command import COLUMNS
from tests.contract.stripe_stand_in import eventually
from tests.till import Till

UNKNOWN = "0b9a5b0e-0000-8000-8000-000000000000"
CAPTURE = ("capture", 3500)
DAY_AND_MORE = 25 * 3600


async def test_all_of_it_goes_back_and_the_order_is_refunded(till: Till) -> None:
    one = await till.charged()
    made = await till.tell("order", "refund", one)
    assert {"order_id": one, "amount_minor": 3500, "state": "succeeded", "left_minor": 0}.items() <= made.items()
    assert till.moved(one) == [CAPTURE, ("refund", 3500)]
    assert (await till.status(one), await till.available()) == ("refunded", 9)
    assert await till.engine.violations() == []


async def test_parts_go_back_and_units_with_the_last_one(till: Till) -> None:
    one = await till.charged()
    first = await till.tell("order", "refund", one, "--amount", "1000")
    assert (first["left_minor"], await till.status(one)) == (2500, "confirmed")
    result = await till.run("order", "refund", one, "--restock")
    assert (result.exit_code, "2500 (USD, minor units)" in result.stdout) == (0, True)
    assert till.moved(one) == [CAPTURE, ("refund", 1000), ("refund", 2500)]
    assert (await till.status(one), await till.available()) == ("refunded", 10)
    assert await till.engine.violations() == []


async def test_units_go_back_on_sale_whichever_refund_is_the_last_to_succeed(till: Till) -> None:
    one = await till.charged()
    slow, last = str(uuid4()), str(uuid4())
    for refund_id, amount, restock in ((slow, 1000, False), (last, 2500, True)):
        wanted = {"refund_id": refund_id, "order_id": one, "amount_minor": amount, "restock": restock}
        assert (await till.engine.call("request_refund", wanted))["outcome"] == "recorded"
    await till.refunds.work([last])
    assert (await till.status(one), await till.available()) == ("confirmed", 9)
    await till.refunds.work([slow])
    assert (await till.status(one), await till.available()) == ("refunded", 10)
    assert await till.engine.violations() == []


async def test_yen_have_no_cents(till: Till) -> None:
    till.drop_id += "-jpy"
    await till.open(currency="JPY", price=500, items={"M": 3})
    one = await till.charged()
    result = await till.run("order", "refund", one, "--amount", "200")
    assert "200 (JPY, minor units)" in result.stdout
    assert till.moved(one) == [("capture", 500), ("refund", 200)]


async def test_a_refund_that_is_sent_again_is_one_refund(till: Till) -> None:
    one = await till.charged()
    refund_id = str(uuid4())
    arguments = ("order", "refund", one, "--amount", "1000", "--refund-id", refund_id)
    answers = [await till.tell(*arguments) for _ in range(2)]
    assert [answer["replayed"] for answer in answers] == [False, True]
    assert [answer["left_minor"] for answer in answers] == [2500, 2500]
    assert till.moved(one) == [CAPTURE, ("refund", 1000)]
    other = await till.charged("b")
    for conflict in (
        ("order", "refund", one, "--amount", "900", "--refund-id", refund_id),
        ("order", "refund", one, "--amount", "1000", "--restock", "--refund-id", refund_id),
        ("order", "refund", other, "--amount", "1000", "--refund-id", refund_id),
    ):
        assert f"another refund has the id {refund_id}" in await till.fail(*conflict)
    assert (till.moved(one), till.moved(other)) == ([CAPTURE, ("refund", 1000)], [CAPTURE])


async def test_what_can_not_be_refunded_is_told_and_moves_nothing(till: Till) -> None:
    paid, reserved, declined = (
        await till.charged("paid"),
        await till.reserved("reserved"),
        await till.reserved("declined", "pm_card_chargeDeclined"),
    )
    free = await till.free_order()
    await till.tell("order", "refund", paid, "--amount", "500")
    for arguments, told in (
        ((UNKNOWN,), "there is no order"),
        ((reserved,), f"no money was captured for it; `merchdrop order cancel {reserved}`"),
        ((declined,), "no money was captured for it"),
        ((free,), "is confirmed, and no money was captured for it\n"),
        ((paid, "--amount", "3001"), "3000 (USD, minor units) can still be refunded"),
        ((paid, "--amount", "2999", "--restock"), "units go back on sale with the last of the money alone"),
    ):
        assert told in await till.fail("order", "refund", *arguments)
    for amount in ("0", "-5", "1.5", "9" * 30):
        assert "--amount" in await till.fail("order", "refund", paid, "--amount", amount, status=2)
    assert await till.engine.count("refunds") == 1
    await till.tell("order", "refund", paid)
    told = await till.fail("order", "refund", paid)
    assert "nothing is left to refund: 3500 (USD, minor units) went back" in told
    assert till.moved(paid) == [CAPTURE, ("refund", 500), ("refund", 3000)]


async def test_without_a_provider_nothing_is_written_down(
    till: Till, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = await till.charged()
    monkeypatch.delenv("MERCHDROP_STRIPE_API_KEY")
    told = await till.fail("order", "refund", one, "--data-dir", str(tmp_path))
    assert "MERCHDROP_STRIPE_API_KEY is not set" in told
    assert "--refund-id" not in told
    assert await till.engine.count("refunds") == 0


TROUBLES = ["error_500_before", "error_500_after", "timeout_before", "timeout_after", "rate_limit"]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_refund_without_a_clear_answer_is_made_once_by_reconcile(
    till: Till, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.stripe_payments.STRIPE_SECONDS", 0.5)
    one = await till.charged()
    till.stand_in.control("faults", {trouble: 1})
    written = await till.tell("order", "refund", one, "--amount", "1000", "--refund-id", str(uuid4()), status=3)
    assert (written["state"], written["last_error"].startswith("Stripe")) == ("claimed", True)
    assert "2500 (USD" in await till.fail("order", "refund", one, "--amount", "2501")
    await till.catch_up()  # in vain
    till.stand_in.control("faults", {})
    for _ in range(2):  # an answer of 500 is kept under its key, and it takes a second call to find out
        await till.catch_up()
    assert till.moved(one) == [CAPTURE, ("refund", 1000)]
    shown = await till.tell("order", "show", one)
    assert (shown["payment"]["refunded_minor"], shown["refunds"][0]["state"]) == (1000, "succeeded")
    assert await till.engine.violations() == []


@pytest.mark.parametrize("seconds", [0, DAY_AND_MORE], ids=["soon", "when its key is forgotten"])
@pytest.mark.parametrize("faults", [{"timeout_before": 1}, {"slow": 2.0}], ids=["before", "after"])
async def test_a_command_that_is_killed_leaves_one_refund(till: Till, faults: Any, seconds: int) -> None:
    """Killed while the provider has not done it yet, and while it does it: nobody is there to hear so."""
    one = await till.charged()
    till.stand_in.control("faults", faults)
    process = till.start("order", "refund", one, "--amount", "1000")
    try:
        await till.until("SELECT EXISTS (SELECT 1 FROM refunds WHERE state = 'claimed')")
        if "slow" in faults:
            eventually(lambda: till.stand_in.control("health")["idempotency_keys_in_use"])
    finally:
        process.kill()
        process.communicate()
    till.stand_in.control("faults", {})
    if "slow" in faults:
        eventually(lambda: len(till.moved(one)) == 2)
    till.stand_in.control("clock", {"advance_seconds": seconds})
    await till.catch_up()
    assert till.moved(one) == [CAPTURE, ("refund", 1000)]
    assert (await till.tell("order", "show", one))["payment"]["refunded_minor"] == 1000


async def test_a_command_that_died_before_it_asked_leaves_one_refund(till: Till) -> None:
    one = await till.charged()
    await till.engine.call("request_refund", {"refund_id": str(uuid4()), "order_id": one})
    assert await till.refunds.work() == 1
    assert await till.refunds.work() == 0
    assert till.moved(one) == [CAPTURE, ("refund", 3500)]


async def test_what_the_provider_will_not_make_is_told(till: Till) -> None:
    one = await till.charged()
    ref = await till.ref(one)
    till.stand_in.refunds.create({"payment_intent": ref, "amount": 3000})  # by somebody who knows the dashboard alone
    told = await till.fail("order", "refund", one)
    assert f"no money went back. Look at the payment {ref}" in told
    assert till.moved(one) == [CAPTURE, ("refund", 3000)]
    assert (await till.tell("order", "refund", one, "--amount", "500"))["state"] == "succeeded"


async def race(till: Till, refunds: list[tuple[str, str]]) -> list[int]:
    """Exit statuses of two operators' commands, both of which have read the order before either writes."""
    gate = await asyncpg.connect(till.engine.url)
    await gate.execute("BEGIN; LOCK TABLE refunds IN SHARE MODE")  # reading goes on, writing waits
    processes = [till.start("order", "refund", one, "--amount", amount) for one, amount in refunds]
    waiting = "SELECT count(DISTINCT pid) = 2 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
    try:
        await till.until(f"{waiting} AND datname = current_database()")
    finally:
        await gate.close()
    return [(process.communicate(), process.returncode)[1] for process in processes]


async def test_two_operators_at_once_never_give_back_more_than_was_captured(till: Till) -> None:
    one = await till.charged()
    assert sorted(await race(till, [(one, "2000"), (one, "1501")])) == [0, 1]
    ((_, refunded),) = [move for move in till.moved(one) if move != CAPTURE]
    assert refunded in (2000, 1501)
    assert await till.engine.count("refunds") == 1
    assert await till.engine.violations() == []


async def test_without_the_lock_both_would_be_written_down(till: Till) -> None:
    """The negative control of the race."""
    body = "RETURNS void LANGUAGE sql AS 'SELECT'"
    await till.engine.connection.execute(f"CREATE OR REPLACE FUNCTION lock_orders(asked uuid[]) {body}")
    one = await till.charged()
    await race(till, [(one, "2000"), (one, "1501")])
    assert await till.engine.count("refunds") == 2


async def test_two_parts_that_fit_are_both_made(till: Till) -> None:
    one = await till.charged()
    assert await race(till, [(one, "2000"), (one, "1500")]) == [0, 0]
    assert sorted(till.moved(one)) == [CAPTURE, ("refund", 1500), ("refund", 2000)]
    assert await till.status(one) == "refunded"


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["people", "programs"])
async def test_an_order_is_shown_with_its_payment_and_never_its_secret(till: Till, options: tuple[str, ...]) -> None:
    one = await till.charged(card="pm_card_authenticationRequired")
    secret = await till.engine.connection.fetchval("SELECT client_secret FROM payments")
    assert secret
    result = await till.run("order", "show", one, *options)
    assert all(word in result.stdout for word in (await till.ref(one), "action_required", "captured"))
    assert secret not in result.output
    assert "secret" not in result.output


async def test_the_refunds_of_an_order_are_shown(till: Till) -> None:
    one = await till.charged()
    made = await till.tell("order", "refund", one, "--amount", "1000")
    shown = (await till.run("order", "show", one)).stdout
    assert f"{made['refund_id']}    1000  operator  succeeded" in shown
    assert max(map(len, shown.splitlines())) <= COLUMNS
