"""Faults, rate limits and controls of the Stripe stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from local.machine import free_port
from local.stripe_faults import Faults
from tests.contract.stripe_stand_in import NO_LIMITS, StandIn, eventually, refused, running

SHARES = (
    "timeout_before",
    "timeout_after",
    "error_500_before",
    "error_500_after",
    "rate_limit",
    "lock_timeout",
    "decline",
)
PARAMS: Any = {
    "amount": 3500,
    "currency": "usd",
    "payment_method_types": ["card"],
    "payment_method": "pm_card_visa",
    "confirm": True,
}


def outcome(payments: Any, key: str) -> str:
    """What a client sees of a payment."""
    try:
        return str(payments.create(PARAMS, {"idempotency_key": key}).status)
    except stripe.StripeError as error:
        return type(error).__name__


def outcomes(faults: str) -> tuple[list[str], int]:
    """What a client sees of forty payments, tried twice each, and how much money moved."""
    with running(*NO_LIMITS, "--faults", faults) as stand_in, ThreadPoolExecutor(8) as threads:
        keys = [f"order-{number}" for number in range(40)]
        seen = [list(threads.map(lambda key: outcome(stand_in.payment_intents, key), keys)) for _ in range(2)]
        return seen[0] + seen[1], len(stand_in.movements())


def test_the_same_seed_makes_the_same_faults() -> None:
    faults = "error_500_before=0.1,error_500_after=0.1,rate_limit=0.2,decline=0.2"
    seen, moved = outcomes(f"seed=5,{faults}")
    assert outcomes(f"seed=5,{faults}") == (seen, moved)
    assert set(seen) == {"succeeded", "APIError", "RateLimitError", "CardError"}
    assert outcomes(f"seed=6,{faults}")[0] != seen


@pytest.mark.parametrize("share", SHARES)
def test_each_fault_is_drawn_apart_from_the_others(share: str) -> None:
    keys = [f"order-{number}" for number in range(200)]
    alone = [getattr(Faults.parse(f"seed=5,{share}=0.3").plan(key), share) for key in keys]
    among_others = [getattr(Faults.of({"seed": 5, **dict.fromkeys(SHARES, 0.3)}).plan(key), share) for key in keys]
    assert alone == among_others
    assert 20 < sum(alone) < 100
    assert alone != [getattr(Faults.parse(f"seed=6,{share}=0.3").plan(key), share) for key in keys]
    assert sum(getattr(Faults.parse(f"seed=5,{share}=0.6").plan(key), share) for key in keys) > sum(alone)


def test_a_timeout_after_the_work_leaves_the_money_taken() -> None:
    with running(*NO_LIMITS) as stand_in:
        impatient = stand_in.connect(seconds=1).v1.payment_intents
        stand_in.control("faults", {"timeout_after": 1})
        assert outcome(impatient, "late") == "APIConnectionError"
        [capture] = eventually(stand_in.movements)
        stand_in.control("faults", {})
        found = stand_in.payment_intents.create(PARAMS, {"idempotency_key": "late"})
        assert (found.status, found.id) == ("succeeded", capture["payment_intent"])
        assert len(stand_in.movements()) == 1


def test_a_timeout_before_the_work_leaves_nothing() -> None:
    with running(*NO_LIMITS) as stand_in:
        impatient = stand_in.connect(seconds=1).v1.payment_intents
        stand_in.control("faults", {"timeout_before": 1})
        assert outcome(impatient, "lost") == "APIConnectionError"
        assert stand_in.control("health")["payment_intents"] == 0
        stand_in.control("faults", {})
        assert outcome(stand_in.payment_intents, "lost") == "succeeded"


def test_what_a_slow_stripe_was_asked_for_happens_after_the_client_has_gone() -> None:
    with running(*NO_LIMITS) as stand_in:
        created = stand_in.create(payment_method="pm_card_visa")
        impatient = stand_in.connect(seconds=0.5).v1.payment_intents
        stand_in.control("faults", {"slow": 2})
        assert isinstance(refused(lambda: impatient.confirm(created.id)), stripe.APIConnectionError)
        stand_in.control("faults", {})
        eventually(lambda: stand_in.payment_intents.retrieve(created.id).status == "succeeded")
        assert len(stand_in.movements()) == 1


def test_a_declined_payment_moves_no_money_and_can_be_tried_again() -> None:
    with running(*NO_LIMITS, "--faults", "decline=1") as stand_in:
        created = stand_in.create(payment_method="pm_card_visa")
        assert refused(lambda: stand_in.payment_intents.confirm(created.id)).code == "card_declined"
        stand_in.control("faults", {})
        method: Any = {"payment_method": "pm_card_visa"}
        assert stand_in.payment_intents.confirm(created.id, method).status == "succeeded"
        assert len(stand_in.movements()) == 1


def test_both_answers_of_429_are_stripes_own() -> None:
    with running(*NO_LIMITS) as stand_in:
        created = stand_in.create(payment_method="pm_card_visa")
        path = f"/v1/payment_intents/{created.id}/confirm"
        for fault, reason in (("rate_limit", "endpoint-rate"), ("lock_timeout", None)):
            stand_in.control("faults", {fault: 1})
            status, headers, body = stand_in.raw("POST", path)
            assert (status, body["error"]["code"]) == (429, fault)
            assert body["error"]["type"] == "invalid_request_error"
            assert headers.get("stripe-rate-limited-reason") == reason
        stand_in.control("faults", {})
        assert stand_in.payment_intents.retrieve(created.id).status == "requires_confirmation"


@pytest.mark.parametrize(("limits", "reason"), [(("1", "0"), "endpoint-rate"), (("0", "1"), "global-rate")])
def test_too_many_requests_in_a_second_are_refused(limits: tuple[str, str], reason: str) -> None:
    options = ("--endpoint-rate", limits[0], "--total-rate", limits[1])
    with running(*options) as stand_in, ThreadPoolExecutor(10) as threads:
        paths = ["/v1/payment_intents", "/v1/refunds"] * (10 if reason == "global-rate" else 0)
        answers = list(threads.map(lambda path: stand_in.raw("GET", path), paths or ["/v1/refunds"] * 20))
        refusals = [answer for answer in answers if answer[0] != 200]
        assert 0 < len(refusals) < 20
        for status, headers, body in refusals:
            assert (status, body["error"]["code"]) == (429, "rate_limit")
            assert headers["stripe-rate-limited-reason"] == reason
        assert isinstance(refused(lambda: _hurry(stand_in)), stripe.RateLimitError)
        eventually(lambda: stand_in.raw("GET", "/v1/refunds")[0] == 200)


def _hurry(stand_in: StandIn) -> None:
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: stand_in.refunds.list(), range(20)))


def test_one_endpoints_limit_leaves_the_others_alone() -> None:
    with running("--endpoint-rate", "1", "--total-rate", "0") as stand_in, ThreadPoolExecutor(10) as threads:
        busy = list(threads.map(lambda _: stand_in.raw("GET", "/v1/payment_intents")[0], range(20)))
        assert 429 in busy
        assert stand_in.raw("GET", "/v1/refunds")[0] == 200


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"lightning": 1}, "timeout_before"),
        ({"decline": 2}, "from 0 to 1"),
        ({"decline": -0.1}, "from 0 to 1"),
        ({"decline": True}, "from 0 to 1"),
        ({"decline": "0.1"}, "from 0 to 1"),
        ({"slow": 601}, "seconds"),
        ({"webhook_delay": float("nan")}, "seconds"),
        ({"seed": 1.5}, "whole number"),
    ],
)
def test_faults_that_it_does_not_know_are_refused_in_words(
    stand_in: StandIn, faults: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Faults.of(faults)
    before = stand_in.control("faults")
    body = json.dumps(faults)
    status, _, answer = stand_in.raw("POST", "/_control/faults", body, Content_Type="application/json")
    assert status == 400
    assert says in answer["error"]
    assert stand_in.control("faults") == before


@pytest.mark.parametrize("text", ["decline", "decline=often", "=1", "decline=2", "storm=1"])
def test_a_command_line_with_unknown_faults_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|from 0 to 1|there are"):
        Faults.parse(text)
    command = [sys.executable, "-m", "local.stripe", "--port", str(free_port()), "--faults", text]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_faults_can_be_shown_and_replaced(stand_in: StandIn) -> None:
    shown = stand_in.control("faults", {"seed": 9, "decline": 0.5})
    assert (shown["seed"], shown["decline"], shown["slow"]) == (9, 0.5, 0.0)
    assert stand_in.control("faults") == shown
    assert stand_in.control("faults", {})["decline"] == 0.0


@pytest.mark.parametrize("seconds", [-1, "1", None, True, 1e12])
def test_the_clock_only_goes_forward_and_not_too_far(stand_in: StandIn, seconds: Any) -> None:
    body = json.dumps({"advance_seconds": seconds})
    assert stand_in.raw("POST", "/_control/clock", body, Content_Type="application/json")[0] == 400


def test_controls_take_no_forms_of_other_sites(stand_in: StandIn) -> None:
    before = stand_in.control("faults")
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert stand_in.raw("POST", "/_control/faults", '{"decline": 1}', Content_Type=kind)[0] == 415
    assert stand_in.control("faults") == before


def test_stops_promptly_when_told() -> None:
    with running(*NO_LIMITS, "--faults", "slow=60") as stand_in, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(refused, stand_in.create)
        eventually(lambda: stand_in.control("health")["idempotency_keys_in_use"] == 1)
        assert stand_in.stop() == 0
        assert isinstance(waiting.result(), stripe.APIConnectionError)
