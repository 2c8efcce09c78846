"""Idempotency keys at the Stripe stand-in: the first answer is the answer, for a day."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.contract.stripe_stand_in import NO_LIMITS, StandIn, eventually, refused, running

PATH = "/v1/payment_intents"
PAYMENT = {
    "amount": "3500",
    "currency": "usd",
    "payment_method_types[0]": "card",
    "payment_method": "pm_card_visa",
    "confirm": "true",
}


@pytest.fixture
def own() -> Iterator[StandIn]:
    """A stand-in of the test's own, whose faults and clock it may change."""
    with running(*NO_LIMITS) as stand_in:
        yield stand_in


def test_the_same_request_under_the_same_key_is_done_once(stand_in: StandIn) -> None:
    first = stand_in.raw("POST", PATH, PAYMENT, Idempotency_Key="once")
    again = stand_in.raw("POST", PATH, dict(reversed(PAYMENT.items())), Idempotency_Key="once")
    assert first[0] == again[0] == 200
    assert first[2] == again[2]
    assert "idempotent-replayed" not in first[1]
    assert again[1]["idempotent-replayed"] == "true"
    assert len(stand_in.movements(first[2]["id"])) == 1


def test_a_replay_tells_what_was_then_not_what_is_now(stand_in: StandIn) -> None:
    created = stand_in.create("then", payment_method="pm_card_visa")
    stand_in.payment_intents.confirm(created.id)
    assert stand_in.create("then", payment_method="pm_card_visa").status == "requires_confirmation"
    assert stand_in.payment_intents.retrieve(created.id).status == "succeeded"


def test_without_a_key_or_under_another_it_is_done_again(stand_in: StandIn) -> None:
    keys: list[dict[str, str]] = [{}, {}, {"Idempotency_Key": "one"}, {"Idempotency_Key": "two"}]
    ids = [stand_in.raw("POST", PATH, PAYMENT, **key)[2]["id"] for key in keys]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("method", ["pm_card_chargeDeclined", "pm_none"])
def test_what_was_refused_after_it_began_stays_refused(stand_in: StandIn, method: str) -> None:
    params, key = PAYMENT | {"payment_method": method}, f"refused-{method}"
    first = stand_in.raw("POST", PATH, params, Idempotency_Key=key)
    again = stand_in.raw("POST", PATH, params, Idempotency_Key=key)
    assert first[0] == again[0] in (400, 402)
    assert first[2] == again[2]
    assert again[1]["idempotent-replayed"] == "true"


def test_a_call_that_came_too_early_stays_refused_under_its_key(stand_in: StandIn) -> None:
    created = stand_in.create()
    refund: Any = {"payment_intent": created.id}
    early = refused(lambda: stand_in.refunds.create(refund, {"idempotency_key": "early"}))
    stand_in.payment_intents.confirm(created.id, {"payment_method": "pm_card_visa"})
    late = refused(lambda: stand_in.refunds.create(refund, {"idempotency_key": "early"}))
    assert str(late.user_message) == str(early.user_message)
    assert stand_in.refunds.create(refund, {"idempotency_key": "new"}).status == "succeeded"


@pytest.mark.parametrize("fault", ["error_500_before", "error_500_after"])
def test_an_error_of_the_server_is_the_answer_for_ever(own: StandIn, fault: str) -> None:
    own.control("faults", {fault: 1})
    first = own.raw("POST", PATH, PAYMENT, Idempotency_Key="broken")
    own.control("faults", {})
    again = own.raw("POST", PATH, PAYMENT, Idempotency_Key="broken")
    assert first[0] == again[0] == 500
    assert first[2] == again[2]
    assert again[1]["idempotent-replayed"] == "true"
    assert len(own.movements()) == (1 if fault == "error_500_after" else 0)
    assert own.raw("POST", PATH, PAYMENT, Idempotency_Key="fresh")[0] == 200


def test_invalid_parameters_leave_the_key_free(stand_in: StandIn) -> None:
    assert stand_in.raw("POST", PATH, PAYMENT | {"amount": "x"}, Idempotency_Key="free")[0] == 400
    status, headers, _ = stand_in.raw("POST", PATH, PAYMENT, Idempotency_Key="free")
    assert status == 200
    assert "idempotent-replayed" not in headers


@pytest.mark.parametrize("fault", ["rate_limit", "timeout_before"])
def test_a_request_that_never_began_leaves_the_key_free(own: StandIn, fault: str) -> None:
    impatient = own.connect(seconds=0.5).v1.payment_intents
    params: Any = {"amount": 3500, "currency": "usd"}
    own.control("faults", {fault: 1})
    error = refused(lambda: impatient.create(params, {"idempotency_key": "limited"}))
    assert isinstance(error, stripe.RateLimitError | stripe.APIConnectionError)
    assert own.control("health")["payment_intents"] == 0
    own.control("faults", {})
    assert own.payment_intents.create(params, {"idempotency_key": "limited"}).status == "requires_payment_method"


def test_other_parameters_under_the_same_key_are_an_error(stand_in: StandIn) -> None:
    first = stand_in.create("mine", metadata={"order_id": "o-1"})
    error = refused(lambda: stand_in.create("mine", metadata={"order_id": "o-2"}))
    assert isinstance(error, stripe.IdempotencyError)
    assert error.http_status == 400
    assert error.error is not None
    assert error.error.type == "idempotency_error"
    assert stand_in.create("mine", metadata={"order_id": "o-1"}).id == first.id


def test_another_path_under_the_same_key_is_an_error(stand_in: StandIn) -> None:
    created = stand_in.create("path", payment_method="pm_card_visa")
    call: Any = {"idempotency_key": "path"}
    assert isinstance(refused(lambda: stand_in.payment_intents.confirm(created.id, {}, call)), stripe.IdempotencyError)
    assert stand_in.payment_intents.retrieve(created.id).status == "requires_confirmation"


def test_the_same_key_while_the_first_is_under_way_conflicts(own: StandIn) -> None:
    own.control("faults", {"slow": 5})
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(own.raw, "POST", PATH, PAYMENT, Idempotency_Key="busy")
        eventually(lambda: own.control("health")["idempotency_keys_in_use"] == 1)
        status, _, body = own.raw("POST", PATH, PAYMENT, Idempotency_Key="busy")
        assert status == 409
        assert body["error"]["code"] == "idempotency_key_in_use"
        status, _, body = own.raw("POST", PATH, PAYMENT | {"amount": "1"}, Idempotency_Key="busy")
        assert (status, body["error"]["type"]) == (400, "idempotency_error")
    own.control("faults", {})
    assert first.result()[0] == 200
    assert own.raw("POST", PATH, PAYMENT, Idempotency_Key="busy")[2] == first.result()[2]
    assert len(own.movements()) == 1


def test_a_key_is_forgotten_after_a_day(own: StandIn) -> None:
    first = own.pay(key="daily")
    own.control("clock", {"advance_seconds": 24 * 3600 - 60})
    assert own.pay(key="daily").id == first.id
    own.control("clock", {"advance_seconds": 60})
    assert own.pay(key="daily").id != first.id  # the double charge that a key alone does not prevent
    assert len(own.movements()) == 2


def test_reading_takes_no_key(stand_in: StandIn) -> None:
    created = stand_in.create(payment_method="pm_card_visa")
    path = f"{PATH}/{created.id}"
    assert stand_in.raw("GET", path, Idempotency_Key="read")[2]["status"] == "requires_confirmation"
    stand_in.payment_intents.confirm(created.id)
    assert stand_in.raw("GET", path, Idempotency_Key="read")[2]["status"] == "succeeded"


@pytest.mark.parametrize(("key", "status"), [("k" * 255, 200), ("k" * 256, 400), ("k\u00e9", 400), ("k\tk", 400)])
def test_a_key_is_printable_and_not_too_long(stand_in: StandIn, key: str, status: int) -> None:
    assert stand_in.raw("POST", PATH, PAYMENT, Idempotency_Key=key)[0] == status
