"""A paid sale with everything in it, and then a search: secrets and personal data are only where they are needed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import grpc
import pytest
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from local.machine import HOST, free_port
from local.postgres import Postgres
from local.topology import ensure_topology
from tests.conftest import Engine, execute
from tests.contract.stripe_stand_in import NO_LIMITS, StandIn, running
from tests.end_to_end.test_logs import PROJECT, emulator
from tests.outages import awaited
from tests.serving import serve

CANARY = "Zaphod"  # in everything that a buyer tells of himself, and in what he pays with where Stripe takes it
API_KEY, BAD_API_KEY, WEBHOOK_SECRET = f"sk_test_{CANARY}", f"sk_live_{CANARY}", f"whsec_{CANARY}"
SECRET_PATTERN = f"{CANARY}|pm_|_secret_|sk_|whsec_|@example"
NOT_DECIDED = ["accepted", "reserved", "action_required"]
FUNCTIONS = ("checkout", "process_order", "charge_order", "reconcile")
WAIT_SECONDS = 60.0
TEXTS = """
SELECT table_name, column_name
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type IN ('text', 'jsonb', 'json')
"""


class Sale:
    """The functions, Stripe, and buyers."""

    def __init__(self, urls: dict[str, str], http: aiohttp.ClientSession, stripe: StandIn, books: Engine) -> None:
        self.urls, self.http, self.stripe, self.books = urls, http, stripe, books

    async def buy(self, card: str) -> str:
        """The id of an order that was accepted."""
        body = {
            "drop_id": "paid",
            "customer": {"id": f"c-{uuid4().hex}", "email": f"{CANARY}@example.com"},
            "items": [{"sku": "M", "quantity": 1}],
            "payment_method": card,
            "shipping": {"name": CANARY, "address": {"line1": CANARY}},
            "metadata": {"note": CANARY},
        }
        headers = {"Idempotency-Key": uuid4().hex}
        async with self.http.post(self.urls["checkout"] + "/v1/checkout", json=body, headers=headers) as response:
            assert response.status == 202
            return str((await response.json())["order_id"])

    async def bought(self, card: str, status: str) -> str:
        return await self.until(await self.buy(card), status)

    async def until(self, order_id: str, status: str) -> str:
        """Wait until an order has got so far."""
        await awaited(lambda: self._is(order_id, status), WAIT_SECONDS)
        return order_id

    async def _is(self, order_id: str, status: str) -> bool:
        query = "SELECT status FROM orders WHERE id = $1"
        return str(await self.books.connection.fetchval(query, order_id)) == status

    async def post(self, url: str, body: Any = None) -> int:
        async with self.http.post(url, json=body) as response:
            return response.status

    async def push(self, at: str, data: bytes, message_id: str = "m") -> int:
        message = {"messageId": message_id, "data": base64.b64encode(data).decode()}
        return await self.post(self.urls[at], {"message": message, "subscription": "s"})

    async def wake(self, at: str = "charge_order") -> int:
        return await self.push(at, json.dumps({"schema_version": 1, "kind": "wake_up"}).encode())

    async def authenticate(self, order_id: str, outcome: str) -> None:
        ref = await self.books.connection.fetchval("SELECT provider_ref FROM payments WHERE order_id = $1", order_id)
        await asyncio.to_thread(self.stripe.authenticate, ref, outcome)

    async def look_again(self, order_id: str) -> None:
        """As if the pause before the next look, or the buyer's time, were over."""
        await self.books.connection.execute("UPDATE payments SET due_at = now() WHERE order_id = $1", order_id)


async def play(sale: Sale) -> None:
    """Each step meets what it is there for; the search comes afterwards."""
    for card, status in [
        ("pm_card_visa", "confirmed"),
        ("pm_card_chargeDeclined", "declined"),
        ("pm_card_chargeDeclinedInsufficientFunds", "declined"),
        (f"pm_{CANARY}", "declined"),  # Stripe's error quotes it
    ]:
        await sale.bought(card, status)
    for outcome, status in [("succeed", "confirmed"), ("fail", "declined")]:
        order_id = await sale.bought("pm_card_threeDSecure2Required", "action_required")
        await sale.authenticate(order_id, outcome)
        await sale.until(order_id, status)  # a webhook tells
    order_id = await sale.bought("pm_card_threeDSecure2Required", "action_required")
    assert await sale.post(f"{sale.urls['checkout']}/v1/orders/{order_id}/cancel") == 200
    await sale.until(order_id, "cancelled")
    order_id = await sale.bought("pm_card_threeDSecure2Required", "action_required")
    await sale.books.connection.execute("UPDATE orders SET hold_expires_at = now() WHERE id = $1", order_id)
    assert await sale.post(sale.urls["reconcile"]) == 200
    await sale.until(order_id, "expired")
    await sale.bought("pm_card_threeDSecure2Required", "action_required")  # and nobody ever acts

    order_id = await sale.bought("pm_card_visa", "confirmed")
    wanted = {"refund_id": str(uuid4()), "order_id": order_id, "restock": True}
    assert (await sale.books.call("request_refund", wanted))["outcome"] == "recorded"
    assert await sale.wake() == 204
    await sale.until(order_id, "refunded")
    await go_without_stripe(sale)
    for n, data in enumerate([CANARY.encode(), json.dumps({"kind": CANARY}).encode()]):
        assert await sale.push("charge_order", data, f"nonsense-{n}") == 204
    headers = {"Stripe-Signature": f"t={int(time.time())},v1={CANARY}"}
    async with sale.http.post(sale.urls["checkout"] + "/v1/webhooks/stripe", data=CANARY, headers=headers) as response:
        assert response.status == 400


async def go_without_stripe(sale: Sale) -> None:
    """Stripe answers with errors, then not at all, then it refuses the key; an order stays in doubt meanwhile."""
    for faults, error in (({"error_500_after": 1.0}, "answered 500"), ({"rate_limit": 1.0}, "answered 429")):
        await asyncio.to_thread(sale.stripe.control, "faults", faults)
        order_id = await sale.buy("pm_card_visa")
        await awaited(partial(in_doubt, sale, order_id, "charge_order", error), WAIT_SECONDS)
        await asyncio.to_thread(sale.stripe.control, "faults", {})
        await sale.look_again(order_id)
        assert await sale.wake() == 204
        await sale.until(order_id, "confirmed")
    await asyncio.to_thread(sale.stripe.control, "faults", {"rate_limit": 1.0})
    order_id = await sale.buy("pm_card_visa")
    for at, error in (
        ("charge_order", "Stripe answered 429"),
        ("charge_order without Stripe", "Stripe did not answer"),
        ("charge_order with a bad key", "Stripe answered 401"),
    ):
        await awaited(partial(in_doubt, sale, order_id, at, error), WAIT_SECONDS)


async def in_doubt(sale: Sale, order_id: str, at: str, error: str) -> bool:
    """Whether this instance was the one that looked after the payment; else another one was faster."""
    await sale.look_again(order_id)
    assert await sale.wake(at) == 204
    query = "SELECT last_error FROM payments WHERE order_id = $1"
    return error in (await sale.books.connection.fetchval(query, order_id) or "")


@dataclass(frozen=True)
class Traces:
    """What a sale left behind: lines that functions printed, by their names; messages by topic; and the database."""

    lines: dict[str, list[str]]
    messages: dict[str, list[str]]
    database_url: str


@pytest.fixture(scope="module")
def traces(postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Traces:
    name, directory = f"test_{uuid4().hex}", tmp_path_factory.mktemp("secrets")
    asyncio.run(execute(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))
    url = postgres.url(name)
    with ExitStack() as stack:
        queue = stack.enter_context(emulator())
        stripe_port, urls = free_port(), {}

        def start(function: str, label: str = "", **environment: str) -> None:
            output = stack.enter_context((directory / f"{function}{label}").open("wb"))
            shared = {
                "PUBSUB_EMULATOR_HOST": queue,
                "MERCHDROP_PROJECT": PROJECT,
                "MERCHDROP_PAYMENT_PROVIDER": "stripe",
                "MERCHDROP_STRIPE_API_KEY": API_KEY,
                "MERCHDROP_STRIPE_API_BASE": f"http://{HOST}:{stripe_port}",
                "MERCHDROP_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            }
            urls[function + label] = stack.enter_context(
                serve(function, url, output=output, **{**shared, **environment})
            )

        for function in FUNCTIONS:
            start(function)
        start("charge_order", " without Stripe", MERCHDROP_STRIPE_API_BASE="http://127.0.0.1:1")
        start("charge_order", " with a bad key", MERCHDROP_STRIPE_API_KEY=BAD_API_KEY)
        webhooks = ("--webhook-url", f"{urls['checkout']}/v1/webhooks/stripe", "--webhook-secret", WEBHOOK_SECRET)
        stripe = stack.enter_context(running(*NO_LIMITS, *webhooks, port=stripe_port))
        ensure_topology(queue, PROJECT, {"process-order": urls["process_order"], "charge-order": urls["charge_order"]})
        copies = {topic: stack.enter_context(copied(queue, topic)) for topic in ("orders", "payments")}
        asyncio.run(sell(url, urls, stripe))
        messages = {topic: pull() for topic, pull in copies.items()}
    lines = {path.name: path.read_text().splitlines() for path in directory.iterdir()}
    return Traces(lines, messages, url)


@contextmanager
def copied(queue: str, topic: str) -> Iterator[Callable[[], list[str]]]:
    """Gives all messages of a topic that come from now on."""
    with grpc.insecure_channel(queue) as channel:
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        name = f"projects/{PROJECT}/subscriptions/copies-{topic}"
        subscriber.create_subscription(name=name, topic=f"projects/{PROJECT}/topics/{topic}")

        def pull() -> list[str]:
            seen: list[str] = []
            while pulled := subscriber.pull(subscription=name, max_messages=1_000).received_messages:
                subscriber.acknowledge(subscription=name, ack_ids=[one.ack_id for one in pulled])
                seen += [f"{one.message.data.decode()} {dict(one.message.attributes)}" for one in pulled]
            return seen

        yield pull


async def sell(url: str, urls: dict[str, str], stripe: StandIn) -> None:
    connection = await asyncpg.connect(url)
    books = Engine(connection, url)
    await books.create_drop("paid", items={"M": 99}, price=3500)
    try:
        async with aiohttp.ClientSession() as http:
            await play(Sale(urls, http, stripe, books))
        assert await books.violations() == []
    finally:
        await connection.close()


def secret(text: str) -> bool:
    return re.search(SECRET_PATTERN, text, re.IGNORECASE) is not None


def test_the_search_would_find_them(traces: Traces) -> None:
    for text in (API_KEY, WEBHOOK_SECRET, "pm_card_visa", "pi_1_secret_2", f"{CANARY}@example.com"):
        assert secret(text)
    assert all(traces.messages.values())
    for name in FUNCTIONS[2:]:
        assert traces.lines[name]


def test_no_function_prints_any(traces: Traces) -> None:
    found = {name: [line for line in lines if secret(line)] for name, lines in traces.lines.items()}
    assert found == {name: [] for name in traces.lines}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("charge_order", "a payment can't be made"),
        ("charge_order", "a message was rejected"),
        ("charge_order with a bad key", "Stripe refuses the API key; correct MERCHDROP_STRIPE_API_KEY"),
        ("reconcile", "holds are over"),
    ],
)
def test_what_went_wrong_is_told(traces: Traces, name: str, message: str) -> None:
    assert message in [json.loads(line)["message"] for line in traces.lines[name]]


def test_the_payments_topic_carries_none(traces: Traces) -> None:
    """The topic orders carries requests as the table has them: orders may have to be made from its messages."""
    assert [message for message in traces.messages["payments"] if secret(message)] == []
    assert [message for message in traces.messages["orders"] if "_secret_" in message or "sk_" in message] == []


async def test_the_database_keeps_them_where_they_are_needed(traces: Traces) -> None:
    connection = await asyncpg.connect(traces.database_url)
    try:
        columns = [(row["table_name"], row["column_name"]) for row in await connection.fetch(TEXTS)]
        found = {
            f"{table}.{column}"
            for table, column in columns
            if await connection.fetchval(
                f'SELECT EXISTS (SELECT 1 FROM "{table}" WHERE "{column}"::text ~* $1)',
                SECRET_PATTERN,
            )
        }
        # the request is what is to be fulfilled; a message that was rejected is kept as it came
        assert found == {"orders.request", "payments.client_secret", "rejected_messages.body"}
        cards = "SELECT count(*) FROM orders WHERE request ? 'payment_method' AND NOT status = ANY ($1)"
        assert await connection.fetchval(cards, NOT_DECIDED) == 0
        held = "SELECT array_agg(DISTINCT state) FROM payments WHERE client_secret IS NOT NULL"
        assert await connection.fetchval(held) == ["action_required"]
        assert await connection.fetchval("SELECT count(*) FROM orders WHERE request::text ~ '_secret_|sk_|whsec_'") == 0
    finally:
        await connection.close()
