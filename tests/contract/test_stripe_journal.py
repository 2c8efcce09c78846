"""What the Stripe stand-in has answered or done outlives it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import stripe

from local.machine import free_port
from tests.contract.stripe_stand_in import NO_LIMITS, StandIn, eventually, refused, running

PAYMENTS = 400
PARAMS: Any = {
    "amount": 3500,
    "currency": "usd",
    "payment_method_types": ["card"],
    "payment_method": "pm_card_visa",
    "confirm": True,
}


def kill_in_a_rush(*options: str) -> tuple[int, int]:
    """Kill it among many payments, start it again, and finish them all under the same keys.

    Returns how many answered payments it has forgotten, and how many captures there were too many in both lives.
    """
    answered: dict[str, str] = {}
    with running(*NO_LIMITS, *options) as stand_in:

        def pay(number: int) -> None:
            with suppress(stripe.APIConnectionError):
                key = f"order-{number}"
                answered[key] = stand_in.payment_intents.create(PARAMS, {"idempotency_key": key}).id

        with ThreadPoolExecutor(8) as threads:
            rush = [threads.submit(pay, number) for number in range(PAYMENTS)]
            eventually(lambda: len(answered) >= PAYMENTS // 8)
            captures = {(movement["id"], movement["at"]) for movement in stand_in.movements()}
            stand_in.kill()
            for payment in rush:
                payment.result()
    with running(*NO_LIMITS, *options) as stand_in:
        known = {payment["id"] for payment in stand_in.control("payment_intents")}
        for number in range(PAYMENTS):
            stand_in.payment_intents.create(PARAMS, {"idempotency_key": f"order-{number}"})
        captures |= {(movement["id"], movement["at"]) for movement in stand_in.movements()}
        return len(set(answered.values()) - known), len(captures) - PAYMENTS


def test_a_kill_without_a_journal_forgets_payments_and_charges_twice() -> None:
    forgotten, too_many = kill_in_a_rush()
    assert forgotten > 0
    assert too_many > 0


def test_a_kill_loses_nothing_and_charges_nobody_twice(tmp_path: Path) -> None:
    assert kill_in_a_rush("--journal", str(tmp_path / "journal")) == (0, 0)


def test_everything_is_as_it_was(tmp_path: Path) -> None:
    options = (*NO_LIMITS, "--journal", str(tmp_path / "journal"))
    with running(*options) as stand_in:
        bring_about_every_state(stand_in)
        before = everything(stand_in)
        stand_in.control("clock", {"advance_seconds": 3600})
        stand_in.kill()
    with running(*options) as stand_in:
        assert everything(stand_in) == before
        bring_about_every_state(stand_in)  # under the same keys: nothing is done again
        assert everything(stand_in) == before
        assert stand_in.create("after").created >= before[0][0]["created"] + 3600


def bring_about_every_state(stand_in: StandIn) -> None:
    """Payments in every state, refunds, and answers that are errors, each under a key of its own."""
    paid = stand_in.pay(key="paid", metadata={"order_id": "o-1"}, description="A shirt")
    refund: Any = {"payment_intent": paid.id, "amount": 100, "metadata": {"why": "late"}}
    stand_in.refunds.create(refund, {"idempotency_key": "refund"})
    too_much: Any = {"payment_intent": paid.id, "amount": 9999}
    refused(lambda: stand_in.refunds.create(too_much, {"idempotency_key": "too much"}))
    stand_in.create("created")
    stand_in.pay("pm_card_threeDSecure2Required", "challenged", return_url="https://shop.example")
    refused(lambda: stand_in.pay("pm_card_chargeDeclined", "declined"))
    canceled = stand_in.create("canceled", payment_method="pm_card_visa")
    reason: Any = {"cancellation_reason": "abandoned"}
    stand_in.payment_intents.cancel(canceled.id, reason, {"idempotency_key": "cancel"})
    stand_in.control("faults", {"error_500_after": 1})
    assert refused(lambda: stand_in.pay(key="broken")).http_status == 500
    stand_in.control("faults", {})


def everything(stand_in: StandIn) -> tuple[Any, ...]:
    refunds = stand_in.raw("GET", "/v1/refunds?limit=100")[2]
    return stand_in.control("payment_intents"), stand_in.movements(), refunds, stand_in.control("health")


def test_a_line_that_was_cut_short_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    options = (*NO_LIMITS, "--journal", str(journal))
    with running(*options) as stand_in:
        first = stand_in.pay(key="first")
    with journal.open("a") as torn:
        torn.write('{"at": 1.0, "payment_int')
    with running(*options) as stand_in:
        assert stand_in.pay(key="first").id == first.id
        second = stand_in.pay(key="second")
    with running(*options) as stand_in:
        assert [payment["id"] for payment in stand_in.control("payment_intents")] == [second.id, first.id]


def test_a_damaged_journal_is_not_used(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text('{"ahead": 1.0}\nnonsense\n{"ahead": 2.0}\n')
    command = [sys.executable, "-m", "local.stripe", "--port", str(free_port()), "--journal", str(journal)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "line 2" in ended.stderr
    assert journal.read_text().count("\n") == 3


def test_nobody_else_may_read_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with running("--journal", str(journal)):
        assert journal.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("option", ["--webhook-url", "--webhook-secret"])
def test_a_webhook_needs_a_url_and_a_secret(option: str) -> None:
    command = [sys.executable, "-m", "local.stripe", "--port", str(free_port()), option, "http://127.0.0.1:1"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
