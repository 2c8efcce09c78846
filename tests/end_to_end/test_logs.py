"""A small sale with everything in it that can go wrong: what the functions print is for the cloud, and about nobody."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import grpc
import pytest

from local.machine import HOST, free_port
from local.postgres import Postgres
from local.topology import ensure_topology
from tests.conftest import Engine, execute
from tests.serving import serve

WAIT_SECONDS = 60.0
PROJECT = "merchdrop-local"
FUNCTIONS = ("checkout", "process_order", "reconcile")
PERSONAL = "Zaphod"  # in everything that a buyer tells of himself, and in passwords
NOWHERE = f"postgresql://{PERSONAL}:{PERSONAL}@127.0.0.1:1/none"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
NO_TRACES = [f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", PERSONAL * 300]
SEVERITIES = {"DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"}

# What the database's functions are replaced by: an error that quotes what it was given, and an answer that can't be.
QUOTES = (
    "CREATE OR REPLACE FUNCTION {}(batch jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE '%', batch; END $$"
)
ANSWERS = "CREATE OR REPLACE FUNCTION {}(batch jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '7'::jsonb $$"


def order(**fields: Any) -> dict[str, Any]:
    return {
        "drop_id": "logged",
        "customer": {"id": f"{PERSONAL}-{uuid4().hex}", "email": f"{PERSONAL}@example.com"},
        "items": [{"sku": "M", "quantity": 1}],
        "payment_method": f"pm_{PERSONAL}",
        "shipping": {"name": PERSONAL, "address": {PERSONAL: PERSONAL}},
        "metadata": {PERSONAL: PERSONAL},
        **fields,
    }


class Sale:
    """The functions' addresses, and how they are called."""

    def __init__(self, urls: dict[str, str], http: aiohttp.ClientSession, books: Engine) -> None:
        self.urls, self.http, self.books = urls, http, books

    async def buy(self, body: Any, key: str = "", at: str = "checkout", **headers: str) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or PERSONAL + uuid4().hex, **headers}
        async with self.http.post(self.urls[at] + "/v1/checkout", data=data, headers=headers) as response:
            return response.status

    async def push(self, data: bytes, message_id: str, at: str = "process_order", trace: str = TRACEPARENT) -> int:
        message = {
            "messageId": message_id,
            "data": base64.b64encode(data).decode(),
            "attributes": {"traceparent": trace},
        }
        async with self.http.post(self.urls[at], json={"message": message, "subscription": "s"}) as response:
            return response.status

    async def reconcile(self, at: str = "reconcile") -> int:
        async with self.http.post(self.urls[at]) as response:
            return response.status


async def run(sale: Sale) -> None:
    """Each step meets what it is there for; the logs are read afterwards."""
    await sell_out(sale)
    await refuse(sale)
    await hang_up(sale)
    await deliver_nonsense(sale)
    await go_without_parts(sale)
    await break_the_database(sale)


async def sell_out(sale: Sale) -> None:
    assert {await sale.buy(order(), traceparent=trace) for trace in [TRACEPARENT, *NO_TRACES]} == {202}
    deadline = time.monotonic() + WAIT_SECONDS
    while await sale.books.count("orders WHERE status = 'accepted'"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert await sale.books.count("orders WHERE status = 'confirmed'") == 3
    assert await sale.buy(order()) == 409


async def refuse(sale: Sale) -> None:
    key = PERSONAL + uuid4().hex
    assert await sale.buy(order(drop_id="plenty"), key) == 202
    for body, status in [
        (order(drop_id="plenty"), 422),
        (json.dumps(order()).encode() + b"}", 400),
        (order(**{PERSONAL: PERSONAL}), 422),
        (order(customer={"id": [PERSONAL]}), 422),
        (order(drop_id=PERSONAL), 404),
        (order(items=[{"sku": PERSONAL, "quantity": 1}]), 422),
        (PERSONAL.encode() * 20_000, 413),
    ]:
        assert await sale.buy(body, key) == status
    assert await sale.buy(order(), **{"Content-Type": PERSONAL}) == 415
    assert await sale.buy(order(), f'"{PERSONAL}') == 400
    for path in (PERSONAL, f"v1/orders/{PERSONAL}", f"v1/drops/{PERSONAL}", f"v1/drops/{PERSONAL}%00?{PERSONAL}"):
        async with sale.http.get(f"{sale.urls['checkout']}/{path}") as response:
            assert response.status == 404


async def hang_up(sale: Sale) -> None:
    """In the middle of a body, and before the answer."""
    port = int(sale.urls["checkout"].rpartition(":")[2])
    body = json.dumps(order(drop_id="plenty")).encode()
    head = f"POST /v1/checkout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: {PERSONAL}\r\n"
    for part in (body[:40], body):
        _, writer = await asyncio.open_connection(HOST, port)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + part)
        await writer.drain()
        writer.close()


async def deliver_nonsense(sale: Sale) -> None:
    messages = [PERSONAL.encode(), json.dumps({"order_id": PERSONAL}).encode(), json.dumps([order()]).encode()]
    stored = await sale.books.connection.fetchval("SELECT id::text FROM orders LIMIT 1")
    messages.append(json.dumps({"order_id": stored, "fingerprint": PERSONAL, "request": order()}).encode())
    messages.append(json.dumps({"order_id": str(uuid4()), "fingerprint": PERSONAL, "request": order()}).encode())
    for n, data in enumerate(messages):
        assert await sale.push(data, f"nonsense-{n}") == 204
    for n, trace in enumerate(NO_TRACES):
        assert await sale.push(PERSONAL.encode(), f"untraced-{n}", trace=trace) == 204
    assert await sale.push(PERSONAL.encode(), "readable", at="process_order as text") == 204
    async with sale.http.post(sale.urls["process_order"], data=PERSONAL) as response:
        assert response.status == 400
    assert await sale.books.count("rejected_messages") == len(messages) + len(NO_TRACES) + 1


async def go_without_parts(sale: Sale) -> None:
    assert await sale.buy(order(), at="checkout without a database") == 503
    assert (
        await sale.push(
            json.dumps({"order_id": str(uuid4()), "fingerprint": PERSONAL}).encode(),
            "m",
            "process_order without a database",
        )
        == 503
    )
    assert await sale.reconcile("reconcile without a database") == 500
    assert await sale.buy(order(drop_id="plenty"), at="checkout without a queue") == 202
    assert await sale.reconcile() == 200


async def break_the_database(sale: Sale) -> None:
    connection = sale.books.connection
    await connection.execute(
        "ALTER TABLE orders ADD CONSTRAINT broken CHECK (customer_id NOT LIKE 'Zaphod-%') NOT VALID"
    )
    assert await sale.buy(order(drop_id="plenty"), traceparent=TRACEPARENT) == 503
    message = json.dumps({"order_id": str(uuid4()), "fingerprint": PERSONAL, "request": order()}).encode()
    for breakage, checkout_status in ((QUOTES, 202), (ANSWERS, 500)):
        for function in ("accept_orders", "reserve_orders"):
            await connection.execute(breakage.format(function))
        assert await sale.buy(order(drop_id="plenty"), traceparent=TRACEPARENT) == checkout_status
        assert await sale.push(message, "broken") in (500, 503)
        await connection.execute(breakage.replace("batch", "bounds").format("claim_waiting_orders"))
        assert await sale.reconcile() == 500


@contextmanager
def emulator() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "local.pubsub", "--host", HOST, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(f"{HOST}:{port}") as channel:
                grpc.channel_ready_future(channel).result(WAIT_SECONDS)
            yield f"{HOST}:{port}"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def said(postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Every line that each function printed during the sale, by the function's name."""
    name, directory = f"test_{uuid4().hex}", tmp_path_factory.mktemp("logs")
    asyncio.run(execute(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))
    url = postgres.url(name)
    with ExitStack() as stack:
        queue = stack.enter_context(emulator())
        urls: dict[str, str] = {}

        def start(function: str, label: str = "", database_url: str = url, **environment: str) -> None:
            output = stack.enter_context((directory / f"{function}{label}").open("wb"))
            environment = {"PUBSUB_EMULATOR_HOST": queue, "MERCHDROP_PROJECT": PROJECT, **environment}
            urls[function + label] = stack.enter_context(serve(function, database_url, output=output, **environment))

        for function in FUNCTIONS:
            start(function)
            start(function, " without a database", NOWHERE)
        start("checkout", " without a queue", PUBSUB_EMULATOR_HOST="127.0.0.1:1")
        start("process_order", " as text", MERCHDROP_LOG_FORMAT="text")
        endpoints = {"process-order": urls["process_order"], "charge-order": "http://127.0.0.1:1"}
        ensure_topology(queue, PROJECT, endpoints)
        asyncio.run(play(url, urls))
    return {path.name: path.read_text().splitlines() for path in directory.iterdir()}


async def play(url: str, urls: dict[str, str]) -> None:
    connection = await asyncpg.connect(url)
    books = Engine(connection, url)
    await books.create_drop("logged", items={"M": 3})
    await books.create_drop("plenty", items={"M": 99}, per_customer_limit=1)
    try:
        async with aiohttp.ClientSession() as http:
            await run(Sale(urls, http, books))
    finally:
        await connection.close()


def entries(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_nothing_that_a_buyer_tells_of_himself_is_logged(said: dict[str, list[str]]) -> None:
    found = {name: [line for line in lines if PERSONAL.lower() in line.lower()] for name, lines in said.items()}
    assert found == {name: [] for name in said}


def test_each_line_is_an_entry_that_cloud_logging_understands(said: dict[str, list[str]]) -> None:
    for name, lines in said.items():
        for entry in entries(lines) if "text" not in name else []:
            assert entry["severity"] in SEVERITIES
            assert entry["message"]
            assert all(isinstance(value, str) for value in entry.get("logging.googleapis.com/labels", {}).values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("process_order", "a message was rejected"),
        ("checkout", "the database can't take what a request holds"),
        ("checkout", "PostgreSQL refused a statement"),
        ("checkout", "Exception on /v1/checkout [POST]"),
        ("checkout without a database", "PostgreSQL is away"),
        ("checkout without a queue", "Pub/Sub is away"),
        ("reconcile", "published waiting orders again"),
        ("reconcile", "a step of reconcile failed"),
        ("process_order without a database", "PostgreSQL is away"),
        ("process_order", "PostgreSQL refused a statement"),
        ("process_order", "Exception on / [POST]"),
    ],
)
def test_what_went_wrong_is_told(said: dict[str, list[str]], name: str, message: str) -> None:
    assert message in [entry["message"] for entry in entries(said[name])]


def test_a_crash_tells_where_it_happened(said: dict[str, list[str]]) -> None:
    crashes = [entry for entry in entries(said["checkout"]) if entry["message"].startswith("Exception on")]
    assert crashes
    for crash in crashes:
        assert crash["severity"] == "ERROR"
        assert "common/batching.py" in crash["stack_trace"]


def test_the_trace_of_a_request_or_of_a_message_is_told_where_there_is_one(said: dict[str, list[str]]) -> None:
    for name, message in (
        ("checkout", "the database can't take what a request holds"),
        ("process_order", "a message was rejected"),
    ):
        told = [entry for entry in entries(said[name]) if entry["message"] == message]
        untraced = [e for e in told if e["logging.googleapis.com/labels"].get("message_id", "").startswith("untraced")]
        assert not [entry for entry in untraced if "logging.googleapis.com/trace" in entry]
        for entry in (entry for entry in told if entry not in untraced):
            assert entry["logging.googleapis.com/trace"] == f"projects/{PROJECT}/traces/{TRACE}"
            assert (entry["logging.googleapis.com/spanId"], entry["logging.googleapis.com/trace_sampled"]) == (
                SPAN,
                True,
            )


def test_on_a_terminal_lines_are_for_people(said: dict[str, list[str]]) -> None:
    (line,) = said["process_order as text"]
    assert re.fullmatch(r"\d\d:\d\d:\d\d error   a message was rejected message_id=readable reason=malformed", line)
