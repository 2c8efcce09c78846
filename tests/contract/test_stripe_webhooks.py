"""The Stripe stand-in's webhooks: signed, sent again until they are taken, and with faults."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from local.machine import HOST, free_port
from local.stripe_faults import Faults
from local.stripe_objects import derive
from tests.contract.stripe_stand_in import NO_LIMITS, WEBHOOK_SECRET, StandIn, eventually, refused, running

FAULTS = "seed=3,webhook_loss=0.2,webhook_duplicate=0.3,webhook_delay=0.3,webhook_reorder=0.5"


class Receiver:
    """A webhook endpoint: remembers what it got and answers as told."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}/webhook"
        self.got: list[tuple[bytes, str]] = []  # payload and signature
        self.answer: Callable[[int], int] = lambda _number: 200  # a status for the number of the delivery, from 1

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload, _ in self.got]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(free_port()) as receiver:
        yield receiver


@contextmanager
def receiving(port: int) -> Iterator[Receiver]:
    receiver, lock = Receiver(port), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                receiver.got.append((payload, self.headers["Stripe-Signature"]))
                status = receiver.answer(len(receiver.got))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOST, port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def telling(url: str, *options: str) -> Any:
    return running(*NO_LIMITS, "--webhook-url", url, "--webhook-secret", WEBHOOK_SECRET, *options)


def all_taken(stand_in: StandIn) -> None:
    """Wait until every event has been taken, lost or given up."""
    eventually(lambda: stand_in.control("health")["waiting_events"] == 0)


def test_every_step_of_a_payment_is_told(receiver: Receiver) -> None:
    with telling(receiver.url) as stand_in:
        challenged = stand_in.pay("pm_card_threeDSecure2Required", metadata={"order_id": "o-1"})
        stand_in.authenticate(challenged.id, "succeed")
        refund = stand_in.refunds.create({"payment_intent": challenged.id, "amount": 500})
        declined = stand_in.create(payment_method="pm_card_chargeDeclined")
        refused(lambda: stand_in.payment_intents.confirm(declined.id))
        stand_in.payment_intents.cancel(declined.id)
        all_taken(stand_in)
    told: dict[str, Counter[str]] = {challenged.id: Counter(), declined.id: Counter(), refund.id: Counter()}
    for event in receiver.events:
        about = event["data"]["object"]
        told[about["payment_intent"] if about["object"] == "charge" else about["id"]][event["type"]] += 1
    assert told == {
        challenged.id: Counter(
            ["payment_intent.created", "payment_intent.requires_action", "payment_intent.succeeded", "charge.refunded"]
        ),
        declined.id: Counter(["payment_intent.created", "payment_intent.payment_failed", "payment_intent.canceled"]),
        refund.id: Counter(["refund.created", "refund.updated"]),
    }
    assert len({event["id"] for event in receiver.events}) == len(receiver.events)
    by_type = {event["type"]: event["data"]["object"] for event in receiver.events}
    assert by_type["payment_intent.requires_action"]["status"] == "requires_action"
    assert by_type["payment_intent.succeeded"]["metadata"] == {"order_id": "o-1"}
    assert by_type["payment_intent.payment_failed"]["last_payment_error"]["code"] == "card_declined"
    assert by_type["charge.refunded"]["amount_refunded"] == 500


def test_the_sdk_accepts_the_signature_and_notices_every_change(receiver: Receiver) -> None:
    with telling(receiver.url) as stand_in:
        paid = stand_in.create(key="signed", payment_method="pm_card_visa")
        eventually(lambda: receiver.got)
    [(payload, signature)] = receiver.got
    event = stripe.Webhook.construct_event(payload, signature, WEBHOOK_SECRET)
    assert (event.object, event.type, event.livemode) == ("event", "payment_intent.created", False)
    assert event.data.object["id"] == paid.id
    assert event.request is not None
    assert event.request.idempotency_key == "signed"
    wrong = [
        (payload + b" ", signature, WEBHOOK_SECRET),
        (payload, signature, "whsec_other"),
        (payload, "t=1,v1=0", ""),
    ]
    for changed, by, secret in wrong:
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(changed, by, secret)


def test_an_event_is_signed_for_the_real_time(receiver: Receiver) -> None:
    with telling(receiver.url) as stand_in:
        stand_in.control("clock", {"advance_seconds": 3 * 24 * 3600})
        stand_in.create()
        eventually(lambda: receiver.got)
    [(payload, signature)] = receiver.got
    event = stripe.Webhook.construct_event(payload, signature, WEBHOOK_SECRET)
    signed_at = int(signature.removeprefix("t=").partition(",")[0])
    assert event.created - signed_at > 2 * 24 * 3600


@pytest.mark.parametrize("status", [500, 404, 302])
def test_an_event_comes_again_until_it_is_taken(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda number: status if number <= 3 else 204
    with telling(receiver.url) as stand_in:
        stand_in.create()
        all_taken(stand_in)
    assert len(receiver.got) == 4
    assert len({event["id"] for event in receiver.events}) == 1
    for payload, signature in receiver.got:
        stripe.Webhook.construct_event(payload, signature, WEBHOOK_SECRET)


def test_a_receiver_that_is_away_gets_its_events_later() -> None:
    port = free_port()
    with telling(f"http://{HOST}:{port}/webhook") as stand_in:
        paid = stand_in.pay()
        with receiving(port) as receiver:
            all_taken(stand_in)
    assert sorted(receiver.types) == ["payment_intent.created", "payment_intent.succeeded"]
    assert {event["data"]["object"]["id"] for event in receiver.events} == {paid.id}


def test_a_killed_stand_in_still_tells_what_it_had_to(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda _number: 503
    options = (receiver.url, "--journal", str(tmp_path / "journal"))
    with telling(*options) as stand_in:
        paid = stand_in.pay()
        eventually(lambda: len(receiver.got) >= 2)
        stand_in.kill()
    receiver.got.clear()
    receiver.answer = lambda _number: 200
    with telling(*options) as stand_in:
        all_taken(stand_in)
    assert set(receiver.types) == {"payment_intent.created", "payment_intent.succeeded"}
    assert receiver.events[0]["data"]["object"]["id"] == paid.id
    receiver.got.clear()
    with telling(*options) as stand_in:
        all_taken(stand_in)
    assert receiver.got == []


@pytest.mark.parametrize("run", ["first", "second"])
def test_the_same_seed_loses_doubles_and_delays_the_same_events(receiver: Receiver, run: str) -> None:
    with telling(receiver.url, "--faults", FAULTS) as stand_in:
        # An event's id comes from its payment's, and that from the key; so the same keys make the same events.
        ids = [stand_in.create(f"order-{number}").id for number in range(40)]
        all_taken(stand_in)
        expected = expected_deliveries(FAULTS, ids)
        eventually(lambda: len(receiver.got) >= expected.total())
    assert Counter(event["data"]["object"]["id"] for event in receiver.events) == expected
    assert 0 < len(expected) < 40  # some were lost
    assert expected.total() > len(expected)  # some came twice
    order = list(dict.fromkeys(event["data"]["object"]["id"] for event in receiver.events))
    assert order != [identity for identity in ids if identity in expected]  # some were overtaken
    assert expected_deliveries(FAULTS.replace("seed=3", "seed=4"), ids) != expected


def expected_deliveries(faults: str, ids: list[str]) -> Counter[str]:
    plan = Faults.parse(faults)
    times = {identity: len(plan.deliveries(derive("evt", identity, 1, "payment_intent.created"))) for identity in ids}
    return Counter({identity: number for identity, number in times.items() if number})
