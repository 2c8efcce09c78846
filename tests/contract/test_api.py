"""The whole table of answers over real HTTP, in its order, and what hostile clients send."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.conftest import Engine
from tests.contract.calls import JSON, post, raw, request
from tests.serving import serve

NEVER_ISSUED = "0198c1de-0000-8000-8000-000000000000"


@pytest.mark.parametrize(
    ("body", "headers", "status", "name"),
    [
        (raw(), {"Idempotency-Key": "k"}, 415, "unsupported-media-type"),
        (b"x" * 70_000, {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (b"x" * 70_000, JSON, 413, "too-large"),
        (b"{", JSON, 400, "idempotency-key-missing"),
        (b"{", {**JSON, "Idempotency-Key": ""}, 400, "idempotency-key-invalid"),
        (b"{", {**JSON, "Idempotency-Key": '""'}, 400, "idempotency-key-invalid"),
        (b"{", {**JSON, "Idempotency-Key": '"open'}, 400, "idempotency-key-invalid"),
        (b"{", {**JSON, "Idempotency-Key": "k" * 256}, 400, "idempotency-key-invalid"),
        (b"{", {**JSON, "Idempotency-Key": "schlüssel"}, 400, "idempotency-key-invalid"),
        (b"{", None, 400, "malformed-json"),
        (b"", None, 400, "malformed-json"),
        (b"\xff\xfe", None, 400, "malformed-json"),
        (b'{"drop_id": "a", "drop_id": "b"}', None, 400, "malformed-json"),
        (b"[" * 60_000, None, 400, "malformed-json"),
        (b'{"quantity": NaN}', None, 400, "malformed-json"),
        (b"null", None, 422, "invalid-request"),
        (raw(surprise=1), None, 422, "invalid-request"),
        (raw(drop_id="nul\x00"), None, 422, "invalid-request"),
        (raw(drop_id="\ud800"), None, 422, "invalid-request"),
        (raw(drop_id="x" * 256), None, 422, "invalid-request"),
        (raw(items=[]), None, 422, "invalid-request"),
        (raw(items=[{"sku": "M", "quantity": 0}]), None, 422, "invalid-request"),
        (raw(items=[{"sku": "M", "quantity": 1001}]), None, 422, "invalid-request"),
        (raw(items=[{"sku": "M", "quantity": True}]), None, 422, "invalid-request"),
        (raw(items=[{"sku": "M", "quantity": 1.5}]), None, 422, "invalid-request"),
        (raw(items=[{"sku": "M", "quantity": "1"}]), None, 422, "invalid-request"),
        (raw(items=[{"sku": "M", "quantity": 10**400}]), None, 422, "invalid-request"),
        (raw(items=[{"sku": "M", "quantity": 1}] * 2), None, 422, "invalid-request"),
        (raw(metadata={str(n): "x" for n in range(21)}), None, 422, "invalid-request"),
        (raw(metadata={"deep": {"er": 1}}), None, 422, "invalid-request"),
        (raw(drop_id="nope"), None, 404, "drop-not-found"),
        (raw(drop_id="early"), None, 409, "drop-not-open"),
        (raw(drop_id="draft"), None, 409, "drop-not-open"),
        (raw(drop_id="over"), None, 410, "drop-closed"),
        (raw(drop_id="paused"), None, 503, "drop-paused"),
        (raw(items=[{"sku": "NONE", "quantity": 1}], expected_amount_minor=9), None, 422, "unknown-sku"),
        (raw(drop_id="paid", expected_amount_minor=499), None, 409, "price-changed"),
        (raw(drop_id="paid", items=[{"sku": "GONE", "quantity": 1}]), None, 409, "sold-out"),
        (raw(drop_id="paid", payment_method="pm_card_visa"), None, 503, "payments-unavailable"),
    ],
)
async def test_each_refusal_has_its_problem_and_stores_nothing(
    http: aiohttp.ClientSession, books: Engine, body: bytes, headers: dict[str, str] | None, status: int, name: str
) -> None:
    before = await books.count("orders")
    answer_status, problem, answer_headers = await post(http, body, headers)
    assert (answer_status, problem["type"].rpartition("/problems/")[2]) == (status, name)
    assert answer_headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if name in ("drop-not-open", "drop-paused"):
        assert int(answer_headers["Retry-After"]) >= 1
    member = {"drop-not-open": "starts_at", "price-changed": "amount_minor", "sold-out": "skus"}.get(name)
    assert member is None or problem[member]
    if name in ("invalid-request", "unknown-sku"):
        assert all(set(error) == {"field", "message"} for error in problem["errors"])
    assert await books.count("orders") == before


async def test_an_order_is_accepted_once_and_its_key_counts_in_both_spellings(http: aiohttp.ClientSession) -> None:
    key = uuid4().hex
    status, first, headers = await post(http, raw(), {**JSON, "Idempotency-Key": key})
    assert status == 202
    assert first == {"order_id": first["order_id"], "status": "accepted", "status_url": headers["Location"]}
    assert headers["Location"] == f"/v1/orders/{first['order_id']}"
    assert int(headers["Retry-After"]) >= 1
    assert "Idempotency-Replayed" not in headers
    reordered = json.dumps(dict(reversed(request().items())), indent=2).encode()
    status, again, headers = await post(http, reordered, {**JSON, "Idempotency-Key": f'"{key}"'})
    assert (status, again, headers["Idempotency-Replayed"]) == (202, first, "true")
    status, problem, _ = await post(http, raw(customer={"id": "other"}), {**JSON, "Idempotency-Key": key})
    assert (status, problem["type"]) == (422, "/problems/idempotency-key-reused")


async def test_a_repeated_key_header_is_refused(http: aiohttp.ClientSession) -> None:
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    async with http.post("/v1/checkout", data=raw(), headers=headers) as response:
        assert (response.status, (await response.json(content_type=None))["type"]) == (
            400,
            "/problems/idempotency-key-invalid",
        )


async def test_a_chunked_body_is_bounded_too(http: aiohttp.ClientSession) -> None:
    async def chunks() -> Any:
        for _ in range(70):
            yield b" " * 1024

    async with http.post("/v1/checkout", data=chunks(), headers={**JSON, "Idempotency-Key": "k"}) as response:
        assert response.status == 413


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/checkout/", 404, "not-found"),
        ("GET", "/v1/checkout", 405, "method-not-allowed"),
        ("DELETE", "/v1/drops/open", 405, "method-not-allowed"),
        ("GET", "/v1/drops/nope", 404, "drop-not-found"),
        ("GET", "/v1/drops/nul%00", 404, "drop-not-found"),
        ("GET", "/v1/orders/nonsense", 404, "order-not-found"),
        ("GET", f"/v1/orders/{NEVER_ISSUED}", 404, "order-not-found"),
        ("POST", f"/v1/orders/{NEVER_ISSUED}/cancel", 404, "order-not-found"),
    ],
)
async def test_paths_and_methods(http: aiohttp.ClientSession, method: str, path: str, status: int, name: str) -> None:
    async with http.request(method, path) as response:
        problem = await response.json(content_type=None)
        assert (response.status, problem["type"]) == (status, f"/problems/{name}")
        assert name != "method-not-allowed" or response.headers["Allow"]


async def test_an_order_is_shown_waited_for_and_cancelled(http: aiohttp.ClientSession, books: Engine) -> None:
    _, accepted, _ = await post(http, raw(items=[{"sku": "M", "quantity": 2}, {"sku": "L", "quantity": 1}]))
    path = accepted["status_url"]
    async with http.get(path) as response:
        shown = await response.json()
    assert shown["status"] == "accepted"
    assert [line["sku"] for line in shown["items"]] == ["L", "M"]
    assert set(shown) == {
        *("order_id", "drop_id", "status", "reason", "items", "amount_minor", "currency"),
        *("accepted_at", "updated_at", "payment"),
    }
    waiting = http.get(path, params={"wait": "20"})
    await books.reserve(accepted["order_id"])
    async with waiting as response:
        assert (await response.json())["status"] == "confirmed"
    async with http.post(f"{path}/cancel") as response:
        assert (response.status, (await response.json(content_type=None))["type"]) == (409, "/problems/too-late")
    _, other, _ = await post(http, raw())
    for _ in range(2):
        async with http.post(f"{other['status_url']}/cancel") as response:
            assert (response.status, (await response.json())["status"]) == (200, "cancelled")


@pytest.mark.parametrize("wait", ["26", "-1", "x", "1.5", ""])
async def test_a_wait_out_of_bounds_is_refused(http: aiohttp.ClientSession, wait: str) -> None:
    _, accepted, _ = await post(http, raw())
    async with http.get(accepted["status_url"], params={"wait": wait}) as response:
        assert response.status == 422


async def test_a_drop_shows_what_is_available(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/drops/paid") as response:
        drop = await response.json()
        assert response.headers["Cache-Control"] == "public, max-age=1"
    assert drop["items"][1] == {"sku": "M", "title": "M", "unit_price_minor": 500, "available": 100}
    assert {"drop_id", "name", "state", "currency", "starts_at", "ends_at", "server_time"} < set(drop)


async def test_only_the_origins_in_the_settings_may_call_from_a_browser(http: aiohttp.ClientSession) -> None:
    for origin, allowed in (("https://shop.example", "https://shop.example"), ("https://evil.example", None)):
        async with http.options("/v1/checkout", headers={"Origin": origin}) as response:
            assert response.status == 204
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
        async with http.get("/v1/drops/open", headers={"Origin": origin}) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == allowed


async def test_health_tells_which_part_is_down(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/health") as response:
        health = await response.json()
    assert health == {"status": "degraded", "database": "ok", "queue": "down", "payments": "not-configured"}


@pytest.mark.parametrize("told", ["ok", "down"])
def test_health_tells_whether_the_payment_provider_takes_connections(api_database: str, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as provider:
        base = f"http://127.0.0.1:{provider.getsockname()[1]}"
        if told == "down":
            provider.close()
        with (
            serve("checkout", api_database, MERCHDROP_PAYMENT_PROVIDER="stripe", MERCHDROP_STRIPE_API_BASE=base) as url,
            urllib.request.urlopen(f"{url}/v1/health") as answer,
        ):
            assert json.load(answer)["payments"] == told
