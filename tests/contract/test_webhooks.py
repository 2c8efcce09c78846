"""Webhooks over real HTTP: only what Stripe has signed lately is taken; ids, states and amounts alone are handed on."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import stripe
from google.api_core.exceptions import AlreadyExists
from hypothesis import given
from hypothesis import strategies as st

from common.problems import Problem
from common.settings import BODY_BYTES_MAX
from common.webhooks import check_signature
from local.machine import HOST, free_port
from local.stripe_webhooks import sign
from tests.contract.conftest import SECRET
from tests.contract.pubsub import PROJECT, Queue, connected, embedded, running
from tests.serving import serve

Signer = Callable[[str], str]

ORDER_ID = str(uuid4())
TOLERANCE = stripe.Webhook.DEFAULT_TOLERANCE
MARGIN = 30  # for a machine that is slow between signing and checking
PRIVATE = "Zaphod"  # in everything of an event that is not ours to hand on
PATH = "/v1/webhooks/stripe"
INVALID = "webhook-signature-invalid"
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"  # an event needs no database


def event(kind: str = "payment_intent.succeeded", **changes: Any) -> str:
    intent = {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 3500,
        "amount_received": 3500,
        "metadata": {"order_id": ORDER_ID, "drop_id": "paid"},
        "client_secret": f"pi_1_secret_{PRIVATE}",
        "receipt_email": f"{PRIVATE}@example.com",
        "payment_method": f"pm_{PRIVATE}",
        "shipping": {"name": PRIVATE},
        "last_payment_error": {"message": PRIVATE, "payment_method": {"id": PRIVATE, "card": {"last4": PRIVATE}}},
        **changes,
    }
    return json.dumps({"id": "evt_1", "object": "event", "type": kind, "data": {"object": intent}})


def official(payload: str, secret: str = SECRET, at: int | None = None) -> str:
    """The header as Stripe's own SDK makes it."""
    return str(stripe.WebhookSignature.generate_signature_header(payload, secret, timestamp=at))


def by_stand_in(payload: str, secret: str = SECRET, at: int | None = None) -> str:
    return sign(payload, secret, int(time.time()) if at is None else at)


class Hooks:
    """A served checkout, and a copy of what it publishes on the topic payments."""

    def __init__(self, http: aiohttp.ClientSession, queue: Queue, copies: str) -> None:
        self._http, self._queue, self._copies = http, queue, copies

    async def send(self, payload: str | bytes, *signatures: str) -> tuple[int, str]:
        """The answer's status, and the name of its problem."""
        return await send(self._http, payload, *signatures)

    async def published(self) -> list[Any]:
        """All that was published before this call."""
        end = event(metadata={"order_id": str(uuid4())})
        assert await self.send(end, official(end)) == (200, "")
        seen: list[Any] = []
        while not seen or seen[-1]["order_id"] == ORDER_ID:
            received = await self._queue.pull_some(self._copies)
            await self._queue.ack(self._copies, *received)
            seen += [json.loads(one.message.data) for one in received]
        return seen[:-1]


async def send(http: aiohttp.ClientSession, payload: str | bytes, *signatures: str) -> tuple[int, str]:
    headers = [("Content-Type", "application/json"), *(("Stripe-Signature", one) for one in signatures)]
    async with http.post(PATH, data=payload, headers=headers) as response:
        document = await response.json(content_type=None)
        return response.status, str(document.get("type", "")).rpartition("/")[2]


@pytest.fixture(scope="module")
def queue_host() -> Iterator[str]:
    port = free_port()
    with running(embedded(port), port):
        yield f"{HOST}:{port}"


@pytest.fixture(scope="module")
def checkout_url(queue_host: str) -> Iterator[str]:
    project = PROJECT.removeprefix("projects/")
    with serve(
        "checkout",
        NOWHERE,
        PUBSUB_EMULATOR_HOST=queue_host,
        MERCHDROP_PROJECT=project,
        MERCHDROP_STRIPE_WEBHOOK_SECRET=SECRET,
    ) as url:
        yield url


@pytest.fixture
async def hooks(checkout_url: str, queue_host: str) -> AsyncIterator[Hooks]:
    async with aiohttp.ClientSession(checkout_url) as http, connected(queue_host) as queue:
        with suppress(AlreadyExists):
            await queue.topic("payments")
        yield Hooks(http, queue, await queue.subscribe(f"{PROJECT}/topics/payments"))


@pytest.mark.parametrize("signer", [official, by_stand_in])
async def test_a_signed_event_is_handed_on_without_anything_private(hooks: Hooks, signer: Signer) -> None:
    payload = event()
    assert await hooks.send(payload, signer(payload)) == (200, "")
    assert await hooks.published() == [
        {
            "schema_version": 1,
            "kind": "provider_event",
            "event_id": "evt_1",
            "order_id": ORDER_ID,
            "provider_ref": "pi_1",
            "state": "captured",
            "captured_minor": 3500,
        }
    ]


@pytest.mark.parametrize(
    ("kind", "state"), [("payment_intent.canceled", "cancelled"), ("payment_intent.payment_failed", "failed")]
)
async def test_what_can_still_change_is_handed_on_as_what_it_is(hooks: Hooks, kind: str, state: str) -> None:
    payload = event(kind, amount_received=0)
    assert await hooks.send(payload, official(payload)) == (200, "")
    assert [(one["state"], one["captured_minor"]) for one in await hooks.published()] == [(state, 0)]


IGNORED = {
    "a payment that is made": event("payment_intent.created"),
    "a buyer who has to act": event("payment_intent.requires_action"),
    "a refund": event("charge.refunded"),
    "a payment that is not the engine's": event(metadata={}),
    "a payment without metadata": event(metadata=None),
    "another shop's payment, with order ids of its own": event(metadata={"order_id": "1001"}),
    "another shop's, with a number": event(metadata={"order_id": 1001}),
}


@pytest.mark.parametrize("name", IGNORED)
async def test_what_the_engine_does_not_need_is_taken_and_dropped(hooks: Hooks, name: str) -> None:
    assert await hooks.send(IGNORED[name], official(IGNORED[name])) == (200, "")
    assert await hooks.published() == []


async def test_an_event_that_comes_again_is_handed_on_again(hooks: Hooks) -> None:
    payload = event()
    header = official(payload)
    assert [await hooks.send(payload, header) for _ in range(2)] == [(200, "")] * 2
    assert len(await hooks.published()) == 2


def ago(seconds: int) -> int:
    return int(time.time()) - seconds


async def test_while_the_secret_is_changed_either_signature_will_do(hooks: Hooks) -> None:
    payload, at = event(), ago(0)
    old, new = official(payload, "whsec_old", at), official(payload, SECRET, at)
    both = f"{old},{new.partition(',')[2]}"
    assert await hooks.send(payload, both) == (200, "")
    assert await hooks.send(payload, f"{new},{old.partition(',')[2]},v0={'0' * 64}") == (200, "")
    assert await hooks.send(payload, old) == (400, INVALID)


@pytest.mark.parametrize("seconds", [MARGIN - TOLERANCE, TOLERANCE - MARGIN])
async def test_a_clock_may_differ_by_five_minutes(hooks: Hooks, seconds: int) -> None:
    payload = event()
    assert await hooks.send(payload, official(payload, SECRET, ago(seconds))) == (200, "")


WRONG: dict[str, Callable[[str], list[str]]] = {
    "no header": lambda _: [],
    "an empty header": lambda _: [""],
    "two headers": lambda payload: [official(payload), official(payload)],
    "another secret": lambda payload: [official(payload, "whsec_other")],
    "another body": lambda payload: [official(payload + " ")],
    "too old": lambda payload: [official(payload, SECRET, ago(TOLERANCE + MARGIN))],
    "too far ahead": lambda payload: [official(payload, SECRET, ago(-TOLERANCE - MARGIN))],
    "no time": lambda payload: [official(payload).partition(",")[2]],
    "another time than was signed": lambda payload: [
        f"t={ago(1)},{official(payload, SECRET, ago(0)).partition(',')[2]}"
    ],
    "two times": lambda payload: [f"t={ago(0)},{official(payload)}"],
    "a time that is none": lambda payload: [f"t=²,{official(payload).partition(',')[2]}".encode().decode("latin-1")],
    "an older scheme": lambda payload: [official(payload).replace("v1=", "v0=")],
    "nonsense": lambda _: ["=,=,,v1==;t"],
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_stripe_has_not_signed_lately_is_refused(hooks: Hooks, name: str) -> None:
    payload = event()
    assert await hooks.send(payload, *WRONG[name](payload)) == (400, INVALID)
    assert await hooks.published() == []


BROKEN: dict[str, bytes] = {
    "no JSON": b"{",
    "no event": b"[]",
    "a number": b"7",
    "no object": b'{"id": "evt_1", "type": "payment_intent.succeeded"}',
    "no UTF-8": b"\xff{}",
    "nesting": b"[" * 30_000,
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_event_is_refused(hooks: Hooks, name: str) -> None:
    assert await hooks.send(BROKEN[name], signed_bytes(BROKEN[name])) == (400, "malformed-json")


def signed_bytes(body: bytes) -> str:
    """As `official`, which takes only text."""
    at = ago(0)
    return f"t={at},v1={hmac.digest(SECRET.encode(), f'{at}.'.encode() + body, 'sha256').hex()}"


async def test_a_body_over_the_limit_is_not_read(hooks: Hooks) -> None:
    payload = event(description="x" * BODY_BYTES_MAX)
    assert await hooks.send(payload, official(payload)) == (413, "too-large")


async def test_without_the_queue_stripe_is_told_to_send_it_again() -> None:
    payload = event()
    with serve("checkout", NOWHERE, MERCHDROP_STRIPE_WEBHOOK_SECRET=SECRET) as url:
        async with aiohttp.ClientSession(url) as http:
            assert await send(http, payload, official(payload)) == (503, "unavailable")


async def test_without_a_secret_nothing_is_taken() -> None:
    payload = event()
    with serve("checkout", NOWHERE) as url:
        async with aiohttp.ClientSession(url) as http:
            assert await send(http, payload, official(payload, "")) == (503, "payments-unavailable")


bodies = st.text(st.characters(codec="utf-8"))
mutations = st.lists(st.tuples(st.integers(0, 100), st.sampled_from("0aft1v=,")), max_size=2)


@given(
    body=bodies, signed=bodies | st.none(), changes=mutations, seconds=st.integers(-2 * TOLERANCE, TOLERANCE - MARGIN)
)
def test_no_header_passes_that_stripes_own_check_refuses(
    body: str, signed: str | None, changes: list[tuple[int, str]], seconds: int
) -> None:
    """Stripe's takes any time ahead of its clock. (Spaces are left out: ours takes them around parts.)"""
    header = official(body if signed is None else signed, SECRET, ago(-seconds))
    for at, character in changes:
        header = header[:at] + character + header[at + 1 :]
    ours = passes(lambda: check_signature(body.encode(), header, SECRET), Problem)
    verify = stripe.WebhookSignature.verify_header
    official_says = passes(lambda: verify(body, header, SECRET, TOLERANCE), stripe.SignatureVerificationError)
    assert official_says or not ours
    if not changes and seconds > MARGIN - TOLERANCE:
        assert ours == official_says == (signed in (None, body))


def passes(check: Callable[[], object], refusal: type[Exception]) -> bool:
    try:
        check()
    except refusal:
        return False
    return True
