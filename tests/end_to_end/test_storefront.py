"""The example storefronts against a stand-in that fails in every way they must survive."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from common.openapi import EXAMPLES, problem_example
from common.problems import status_of
from local.machine import free_port
from local.recipes import ROOT

LINES_MAX = 80
RUN_SECONDS = 60.0
RETRY_AFTER_SECONDS = 1
_EXAMPLES = ROOT / "examples"
_STOREFRONTS = [
    pytest.param([sys.executable, str(_EXAMPLES / "storefront.py")], id="python"),
    pytest.param(
        [shutil.which("node") or "node", str(_EXAMPLES / "storefront.mjs")],
        id="node",
        marks=pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    ),
]
each_storefront = pytest.mark.parametrize("storefront", _STOREFRONTS)


@dataclass
class StandIn:
    """Answers calls from two scripts, the last entry again and again, and keeps what it was sent.

    An entry of `checkouts` is a problem's name, "cut" (the connection ends without an answer), "proxy" (a 502 that
    isn't JSON) or "accepted"; one of `polls` is a problem's name or a status.
    """

    checkouts: list[str]
    polls: list[str]
    url: str = ""
    keys: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    async def checkout(self, request: web.Request) -> web.Response:
        """POST /v1/checkout."""
        self.times.append(asyncio.get_running_loop().time())
        self.keys.append(request.headers["Idempotency-Key"])
        self.bodies.append(await request.json())
        match _next(self.checkouts):
            case "cut":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "proxy":
                return web.Response(status=502, text="<h1>Bad Gateway</h1>")
            case "accepted":
                return web.json_response(EXAMPLES["Accepted"], status=202)
            case name:
                return _problem(name)

    async def poll(self, request: web.Request) -> web.Response:
        """GET /v1/orders/{order_id}."""
        assert request.path == EXAMPLES["Accepted"]["status_url"]
        self.waits.append(request.query["wait"])
        if (entry := _next(self.polls)) == "overloaded":
            return _problem(entry)
        payment = {"provider": "stripe", "state": "action_required", "client_secret": "pi_1_secret_2"}
        return web.json_response({**EXAMPLES["Order"], "status": entry, "payment": payment})


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    stand_in = StandIn(["accepted"], ["confirmed"])
    app = web.Application()
    app.router.add_post("/v1/checkout", stand_in.checkout)
    app.router.add_get("/v1/orders/{order_id}", stand_in.poll)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stand_in.url = f"http://127.0.0.1:{port}"
    yield stand_in
    await runner.cleanup()


@each_storefront
async def test_every_attempt_has_the_same_key(storefront: list[str], stand_in: StandIn) -> None:
    stand_in.checkouts = ["unavailable", "cut", "proxy", "accepted"]
    stand_in.polls = ["overloaded", "reserved", "confirmed"]
    code, output, errors = await _run(storefront, stand_in.url, "tee-drop", "TEE-M", "2", "c-1")
    assert (code, output, errors) == (0, ["confirmed"], "")
    assert len(stand_in.keys) == 4
    assert len(set(stand_in.keys)) == 1
    body = {
        "drop_id": "tee-drop",
        "customer": {"id": "c-1"},
        "items": [{"sku": "TEE-M", "quantity": 2}],
        "payment_method": "pm_card_visa",
    }
    assert stand_in.bodies == [body] * 4
    assert stand_in.times[1] - stand_in.times[0] >= RETRY_AFTER_SECONDS
    assert stand_in.waits == ["20"] * 3


@each_storefront
async def test_each_order_has_its_own_key(storefront: list[str], stand_in: StandIn) -> None:
    for _ in range(2):
        await _run(storefront, stand_in.url, "tee-drop", "TEE-M", "1")
    assert len(set(stand_in.keys)) == 2


@each_storefront
async def test_a_refusal_is_shown_and_not_tried_again(storefront: list[str], stand_in: StandIn) -> None:
    stand_in.checkouts = ["unknown-sku"]
    code, output, errors = await _run(storefront, stand_in.url, "tee-drop", "TEE-X", "1")
    problem = problem_example("unknown-sku")
    assert (code, output) == (1, [])
    assert errors.splitlines() == [f"{problem['title']}: {problem['detail']}", "items.0.sku: not in this drop"]
    assert len(stand_in.keys) == 1


@each_storefront
async def test_a_buyer_whose_bank_asks_is_told_once_and_his_secret_to_nobody(
    storefront: list[str], stand_in: StandIn
) -> None:
    stand_in.polls = ["reserved", "action_required", "action_required", "confirmed"]
    card = "pm_card_threeDSecure2Required"
    code, output, errors = await _run(storefront, stand_in.url, "tee-drop", "TEE-M", "1", "c-1", card)
    assert (code, output, errors.splitlines()) == (0, ["confirmed"], ["the buyer has to act"])
    assert stand_in.bodies[0]["payment_method"] == card


@each_storefront
async def test_another_final_status_is_no_success(storefront: list[str], stand_in: StandIn) -> None:
    stand_in.polls = ["sold_out"]
    code, output, _ = await _run(storefront, stand_in.url, "tee-drop", "TEE-M", "1")
    assert (code, output) == (1, ["sold_out"])


@pytest.mark.parametrize("name", ["storefront.py", "storefront.mjs"])
def test_an_example_is_short(name: str) -> None:
    assert len((_EXAMPLES / name).read_text().splitlines()) < LINES_MAX


def _next(script: list[str]) -> str:
    return script.pop(0) if len(script) > 1 else script[0]


def _problem(name: str) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return web.json_response(
        problem_example(name), status=status_of(name), headers=headers, content_type="application/problem+json"
    )


async def _run(storefront: list[str], *arguments: str) -> tuple[int | None, list[str], str]:
    process = await asyncio.create_subprocess_exec(
        *storefront,
        *arguments,
        env={**os.environ, "no_proxy": "127.0.0.1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode().splitlines(), errors.decode()
