"""The life of a payment at the Stripe stand-in, as Stripe's own SDK sees it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.contract.stripe_stand_in import KEY, NO_LIMITS, StandIn, refused, running

DECLINES = {
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_visa_chargeDeclinedLostCard": ("card_declined", "lost_card"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", "expired_card"),
    "pm_card_chargeDeclinedIncorrectCvc": ("incorrect_cvc", "incorrect_cvc"),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", "processing_error"),
}
CHALLENGES = ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"]


def test_a_payment_is_created_then_confirmed_and_captured_once(stand_in: StandIn) -> None:
    created = stand_in.create(
        payment_method="pm_card_visa",
        metadata={"order_id": "o-1"},
        description="A shirt",
        receipt_email="a@example.com",
        capture_method="automatic",
    )
    assert created.id.startswith("pi_")
    assert created.object == "payment_intent"
    assert (created.status, created.amount_received, created.latest_charge) == ("requires_confirmation", 0, None)
    assert (created.amount, created.currency, created.livemode) == (3500, "usd", False)
    assert (created.description, created.receipt_email) == ("A shirt", "a@example.com")
    assert created.client_secret is not None
    assert created.client_secret.startswith(f"{created.id}_secret_")
    assert stand_in.movements(created.id) == []
    paid = stand_in.payment_intents.confirm(created.id)
    assert (paid.status, paid.amount_received, paid.last_payment_error) == ("succeeded", 3500, None)
    assert isinstance(paid.latest_charge, str)
    [capture] = stand_in.movements(created.id)
    assert (capture["kind"], capture["amount"], capture["currency"]) == ("capture", 3500, "usd")
    assert capture["metadata"] == {"order_id": "o-1"}
    found = stand_in.payment_intents.retrieve(created.id, {"expand": ["latest_charge"]})
    assert isinstance(found.latest_charge, stripe.Charge)
    assert (found.latest_charge.id, found.latest_charge.amount_refunded) == (paid.latest_charge, 0)


def test_without_a_payment_method_it_waits_for_one(stand_in: StandIn) -> None:
    created = stand_in.create()
    assert created.status == "requires_payment_method"
    error = refused(lambda: stand_in.payment_intents.confirm(created.id))
    assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
    assert stand_in.payment_intents.confirm(created.id, {"payment_method": "pm_card_visa"}).status == "succeeded"


@pytest.mark.parametrize("method", DECLINES)
def test_a_declined_card_costs_nothing_and_another_one_can_pay(stand_in: StandIn, method: str) -> None:
    created = stand_in.create(payment_method=method)
    error = refused(lambda: stand_in.payment_intents.confirm(created.id))
    assert isinstance(error, stripe.CardError)
    assert error.http_status == 402
    assert error.error is not None
    assert (error.code, error.error.decline_code) == DECLINES[method]
    assert error.error.payment_intent is not None
    assert error.error.payment_intent.id == created.id
    failed = stand_in.payment_intents.retrieve(created.id)
    assert (failed.status, failed.payment_method) == ("requires_payment_method", None)
    assert failed.last_payment_error is not None
    assert (failed.last_payment_error.code, failed.last_payment_error.decline_code) == DECLINES[method]
    assert failed.last_payment_error.charge == failed.latest_charge
    assert stand_in.movements(created.id) == []
    paid = stand_in.payment_intents.confirm(created.id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)
    assert len(stand_in.movements(created.id)) == 1


@pytest.mark.parametrize("confirm", [True, False])
def test_an_unknown_payment_method_is_missing(stand_in: StandIn, confirm: bool) -> None:
    before = stand_in.control("health")["payment_intents"]
    error = refused(lambda: stand_in.create(payment_method="pm_none", confirm=confirm))
    assert (error.http_status, error.code) == (400, "resource_missing")
    assert isinstance(error, stripe.InvalidRequestError)
    assert error.param == "payment_method"
    assert stand_in.control("health")["payment_intents"] == before


@pytest.mark.parametrize("method", CHALLENGES)
def test_3d_secure_succeeds(stand_in: StandIn, method: str) -> None:
    waiting = stand_in.pay(method)
    assert waiting.status == "requires_action"
    assert waiting.next_action is not None
    assert waiting.next_action.type == "use_stripe_sdk"
    assert stand_in.movements(waiting.id) == []
    stand_in.authenticate(waiting.id, "succeed")
    paid = stand_in.payment_intents.retrieve(waiting.id)
    assert (paid.status, paid.next_action) == ("succeeded", None)
    assert len(stand_in.movements(waiting.id)) == 1


@pytest.mark.parametrize("method", CHALLENGES)
def test_3d_secure_fails(stand_in: StandIn, method: str) -> None:
    waiting = stand_in.pay(method, return_url="https://shop.example/paid")
    assert waiting.next_action is not None
    assert waiting.next_action.type == "redirect_to_url"
    assert waiting.next_action.redirect_to_url is not None
    assert waiting.next_action.redirect_to_url.return_url == "https://shop.example/paid"
    stand_in.authenticate(waiting.id, "fail")
    failed = stand_in.payment_intents.retrieve(waiting.id)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error is not None
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    assert stand_in.movements(waiting.id) == []
    assert stand_in.raw("POST", f"/_control/payment_intents/{waiting.id}/authenticate")[0] == 409


def test_3d_secure_can_end_in_a_decline(stand_in: StandIn) -> None:
    waiting = stand_in.pay("pm_card_threeDSecureRequiredChargeDeclined")
    assert stand_in.authenticate(waiting.id, "succeed")["status"] == "requires_payment_method"
    assert stand_in.movements(waiting.id) == []


def test_an_abandoned_challenge_can_be_canceled(stand_in: StandIn) -> None:
    waiting = stand_in.pay("pm_card_threeDSecure2Required")
    canceled = stand_in.payment_intents.cancel(waiting.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert canceled.canceled_at is not None
    assert stand_in.raw("POST", f"/_control/payment_intents/{waiting.id}/authenticate")[0] == 409


@pytest.mark.parametrize(("status", "method"), [("succeeded", "pm_card_visa"), ("canceled", None)])
@pytest.mark.parametrize("call", ["confirm", "cancel"])
def test_a_payment_that_is_over_stays_as_it_is(stand_in: StandIn, status: str, method: str | None, call: str) -> None:
    payment = stand_in.pay(method) if method else stand_in.payment_intents.cancel(stand_in.create().id)
    again: Any = getattr(stand_in.payment_intents, call)
    error = refused(lambda: again(payment.id))
    assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
    assert error.error is not None
    assert error.error.payment_intent is not None
    assert error.error.payment_intent.status == status
    assert stand_in.payment_intents.retrieve(payment.id).status == status
    assert len(stand_in.movements(payment.id)) == (1 if method else 0)


def test_methods_that_redirect_need_a_place_to_return_to(stand_in: StandIn) -> None:
    params: Any = {"amount": 500, "currency": "eur", "payment_method": "pm_card_visa"}
    open_to_all = stand_in.payment_intents.create(params)
    assert open_to_all.automatic_payment_methods is not None
    assert isinstance(refused(lambda: stand_in.payment_intents.confirm(open_to_all.id)), stripe.InvalidRequestError)
    returning: Any = {"return_url": "https://shop.example/paid"}
    assert stand_in.payment_intents.confirm(open_to_all.id, returning).status == "succeeded"
    params |= {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}, "confirm": True}
    assert stand_in.payment_intents.create(params).status == "succeeded"


def test_yen_have_no_cents(stand_in: StandIn) -> None:
    paid = stand_in.pay(amount=500, currency="jpy")
    assert (paid.amount_received, paid.currency) == (500, "jpy")
    error = refused(lambda: stand_in.refunds.create({"payment_intent": paid.id, "amount": 501}))
    assert "501 JPY" in str(error)
    assert stand_in.refunds.create({"payment_intent": paid.id}).amount == 500
    assert [(m["amount"], m["currency"]) for m in stand_in.movements(paid.id)] == [(500, "jpy")] * 2


def test_refunds_give_back_parts_and_the_rest_and_no_more(stand_in: StandIn) -> None:
    paid = stand_in.pay(metadata={"order_id": "o-2"})
    part = stand_in.refunds.create(
        {"payment_intent": paid.id, "amount": 1000, "reason": "requested_by_customer", "metadata": {"why": "late"}}
    )
    assert part.id.startswith("re_")
    assert (part.object, part.status, part.amount, part.currency) == ("refund", "succeeded", 1000, "usd")
    assert (part.payment_intent, part.charge) == (paid.id, paid.latest_charge)
    assert part.metadata is not None
    assert (part.reason, part.metadata["why"]) == ("requested_by_customer", "late")
    error = refused(lambda: stand_in.refunds.create({"payment_intent": paid.id, "amount": 2501}))
    assert isinstance(error, stripe.InvalidRequestError)
    assert (error.http_status, error.param) == (400, "amount")
    rest = stand_in.refunds.create({"payment_intent": paid.id})
    assert rest.amount == 2500
    error = refused(lambda: stand_in.refunds.create({"payment_intent": paid.id}))
    assert (error.http_status, error.code) == (400, "charge_already_refunded")
    assert stand_in.refunds.retrieve(part.id).amount == 1000
    listed = [refund.id for refund in stand_in.refunds.list({"payment_intent": paid.id})]
    assert listed == [rest.id, part.id]
    moved = [(movement["kind"], movement["amount"]) for movement in stand_in.movements(paid.id)]
    assert moved == [("capture", 3500), ("refund", 1000), ("refund", 2500)]
    assert all(movement["metadata"] == {"order_id": "o-2"} for movement in stand_in.movements(paid.id))
    after = stand_in.payment_intents.retrieve(paid.id, {"expand": ["latest_charge"]})
    assert after.status == "succeeded"
    assert isinstance(after.latest_charge, stripe.Charge)
    assert (after.latest_charge.amount_refunded, after.latest_charge.refunded) == (3500, True)


def test_what_was_never_captured_is_not_refunded(stand_in: StandIn) -> None:
    waiting = stand_in.create(payment_method="pm_card_visa")
    error = refused(lambda: stand_in.refunds.create({"payment_intent": waiting.id}))
    assert isinstance(error, stripe.InvalidRequestError)
    assert error.param == "payment_intent"
    assert stand_in.movements(waiting.id) == []


def test_refunds_at_the_same_time_never_exceed_what_was_captured() -> None:
    with running(*NO_LIMITS) as stand_in, ThreadPoolExecutor(8) as threads:
        paid = stand_in.pay(amount=1000)
        stand_in.control("faults", {"slow": 0.5})  # so that all of them are under way together

        def give_back(number: int) -> bool:
            try:
                stand_in.connect().v1.refunds.create({"payment_intent": paid.id, "amount": 300})
            except stripe.InvalidRequestError:
                return False
            return True

        given = list(threads.map(give_back, range(8)))
        assert given.count(True) == 3
        refunds = [movement for movement in stand_in.movements() if movement["kind"] == "refund"]
        assert sum(refund["amount"] for refund in refunds) == 900


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"amount": "100", "currency": "usd", "colour": "red"}, "parameter_unknown", "colour"),
        ({"amount": "100", "currency": "usd", "automatic_payment_methods[x]": "1"}, "parameter_unknown", None),
        ({"currency": "usd"}, "parameter_missing", "amount"),
        ({"amount": "100"}, "parameter_missing", "currency"),
        ({"amount": "10.5", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "0", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "-1", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "100000000", "currency": "usd"}, "amount_too_large", "amount"),
        ({"amount[a]": "100", "currency": "usd"}, "parameter_invalid_integer", "amount"),
        ({"amount": "100", "currency": "USD"}, None, "currency"),
        ({"amount": "100", "currency": "xxx"}, None, "currency"),
        ({"amount": "100", "currency": "usd", "confirm": "yes"}, None, "confirm"),
        ({"amount": "100", "currency": "usd", "capture_method": "manual"}, None, "capture_method"),
        ({"amount": "100", "currency": "usd", "payment_method": ""}, "parameter_invalid_empty", "payment_method"),
        ({"amount": "100", "currency": "usd", "payment_method_types": "card"}, None, "payment_method_types"),
        ({"amount": "100", "currency": "usd", "payment_method_types[]": "cash"}, None, "payment_method_types[0]"),
        ({"amount": "100", "currency": "usd", "metadata": "x"}, None, "metadata"),
        ({"amount": "100", "currency": "usd", f"metadata[{'k' * 41}]": "x"}, None, None),
        ({"amount": "100", "currency": "usd", "receipt_email": "nobody"}, "email_invalid", "receipt_email"),
        ({"amount": "100", "currency": "usd", "return_url": "https://shop.example"}, None, "return_url"),
    ],
)
def test_parameters_are_checked_as_stripe_does(
    stand_in: StandIn, params: dict[str, str], code: str | None, param: str | None
) -> None:
    before = stand_in.control("health")["payment_intents"]
    status, headers, body = stand_in.raw("POST", "/v1/payment_intents", params)
    assert status == 400
    assert headers["request-id"].startswith("req_")
    error = body["error"]
    assert error["type"] == "invalid_request_error"
    assert error.get("code") == code
    assert param is None or error["param"] == param
    assert error["message"]
    assert stand_in.control("health")["payment_intents"] == before


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("confirm", {"amount": "1"}),
        ("cancel", {"cancellation_reason": "bored"}),
        ("cancel", {"payment_method": "pm_card_visa"}),
    ],
)
def test_other_calls_check_their_parameters_too(stand_in: StandIn, path: str, params: dict[str, str]) -> None:
    created = stand_in.create(payment_method="pm_card_visa")
    assert stand_in.raw("POST", f"/v1/payment_intents/{created.id}/{path}", params)[0] == 400
    assert stand_in.payment_intents.retrieve(created.id).status == "requires_confirmation"


def test_a_body_that_is_no_form_or_too_large_is_refused(stand_in: StandIn) -> None:
    path = "/v1/payment_intents"
    assert stand_in.raw("POST", path, '{"amount": 1}', Content_Type="application/json")[0] == 400
    assert stand_in.raw("POST", path, b"amount=\xff")[0] == 400
    assert stand_in.raw("POST", path, "amount=%FF&currency=usd")[0] == 400
    assert stand_in.raw("POST", path, "&".join(f"metadata[{n}]=1" for n in range(300)))[0] == 400
    assert stand_in.raw("POST", path, "a=" + "x" * 300_000)[0] == 413


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer sk_live_1", "Bearer pk_test_1", "Basic ====", "Digest x"]
)
def test_a_key_for_tests_is_required(stand_in: StandIn, authorization: str) -> None:
    status, headers, body = stand_in.raw("GET", "/v1/payment_intents", Authorization=authorization)
    assert status == 401
    assert headers["request-id"].startswith("req_")
    assert body["error"]["type"] == "invalid_request_error"
    assert "sk_live_1" not in body["error"]["message"]


def test_the_sdk_and_curl_may_both_name_the_key(stand_in: StandIn) -> None:
    assert isinstance(refused(lambda: stand_in.connect("sk_live_1").v1.refunds.list()), stripe.AuthenticationError)
    assert stand_in.raw("GET", "/v1/refunds", Authorization="Basic c2tfdGVzdF8xOg==")[0] == 200
    assert stand_in.connect(KEY).v1.refunds.list().data is not None


def test_what_does_not_exist_is_missing(stand_in: StandIn) -> None:
    for call in (stand_in.payment_intents.retrieve, stand_in.payment_intents.confirm, stand_in.payment_intents.cancel):
        error = refused(lambda call=call: call("pi_none"))  # type: ignore[misc]
        assert (error.http_status, error.code) == (404, "resource_missing")
    assert refused(lambda: stand_in.refunds.retrieve("re_none")).http_status == 404
    assert refused(lambda: stand_in.refunds.create({"payment_intent": "pi_none"})).code == "resource_missing"
    assert stand_in.raw("GET", "/v1/payment_intents/%ff%00")[0] == 404
    assert stand_in.raw("GET", "/v1/customers")[0] == 404
    assert stand_in.raw("DELETE", "/v1/payment_intents")[0] == 404


def test_lists_come_in_pages_from_the_newest() -> None:
    with running(*NO_LIMITS) as stand_in:
        ids = [stand_in.create(metadata={"n": str(number)}).id for number in range(7)]
        first = stand_in.payment_intents.list({"limit": 3})
        assert [payment.id for payment in first] == ids[:-4:-1]
        assert first.has_more
        last = stand_in.payment_intents.list({"limit": 2, "starting_after": ids[2]})
        assert [payment.id for payment in last] == [ids[1], ids[0]]
        assert not last.has_more
        pages = stand_in.payment_intents.list({"limit": 2}).auto_paging_iter()
        assert [payment.id for payment in pages] == ids[::-1]
        assert [payment["id"] for payment in stand_in.control("payment_intents")] == ids[::-1]
        error = refused(lambda: stand_in.payment_intents.list({"starting_after": "pi_none"}))
        assert error.code == "resource_missing"
        for limit in ("0", "101"):
            assert stand_in.raw("GET", f"/v1/payment_intents?limit={limit}")[0] == 400


def test_lists_can_be_narrowed_by_time() -> None:
    with running(*NO_LIMITS) as stand_in:
        old = stand_in.create()
        stand_in.control("clock", {"advance_seconds": 3600})
        new = stand_in.create()

        def ids(created: Any) -> list[str]:
            return [payment.id for payment in stand_in.payment_intents.list({"created": created})]

        assert new.created >= old.created + 3600
        assert ids({"gt": old.created}) == ids({"gte": new.created}) == ids(new.created) == [new.id]
        assert ids({"lt": new.created}) == ids({"lte": old.created}) == ids(old.created) == [old.id]
        assert ids({"gte": old.created, "lt": new.created}) == [old.id]
