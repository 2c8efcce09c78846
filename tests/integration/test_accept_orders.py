"""accept_orders: a key is claimed once, a replay comes before any refusal, a refusal leaves no row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Engine, order


def outcomes(verdicts: list[dict[str, str]]) -> list[str]:
    return [verdict["outcome"] for verdict in verdicts]


async def test_one_batch_may_hold_one_order_twice_and_two_requests_under_one_key(engine: Engine) -> None:
    await engine.create_drop()
    verdicts = await engine.accept(order("a"), order("a"), order("a", fingerprint="other"))
    assert outcomes(verdicts) == ["created", "replayed", "conflict"]
    assert await engine.count("orders") == 1


async def test_a_refused_request_does_not_claim_the_key_for_the_next_one(engine: Engine) -> None:
    await engine.create_drop()
    verdicts = await engine.accept(order("a", {"NONE": 1}), order("a", fingerprint="other"))
    assert outcomes(verdicts) == ["conflict", "created"]


@pytest.mark.parametrize("state", ["paused", "ended"])
async def test_an_accepted_key_is_replayed_whatever_the_drop_is_by_now(engine: Engine, state: str) -> None:
    await engine.create_drop(items={"M": 1})
    await engine.accept(order("first"))
    await engine.reserve(order("first")["order_id"])
    assert outcomes(await engine.accept(order("first"), order("late"))) == ["replayed", "sold_out"]
    await engine.call("set_drop_state", {"drop_id": "drop", "state": state})
    refusal = "paused" if state == "paused" else "closed"
    assert outcomes(await engine.accept(order("first"), order("late"))) == ["replayed", refusal]


@pytest.mark.parametrize(
    ("fields", "wanted", "outcome"),
    [
        ({}, order("a", drop_id="nope"), "drop_not_found"),
        ({"starts_at": "2999-01-01T00:00:00Z"}, order("a"), "not_open"),
        ({"state": "draft"}, order("a"), "not_open"),
        ({"starts_at": "2000-01-01T00:00:00Z", "ends_at": "2001-01-01T00:00:00Z"}, order("a"), "closed"),
        ({}, order("a", {"M": 1, "NONE": 1}), "unknown_sku"),
        ({"price": 5}, order("a", request={"expected_amount_minor": 4}), "price_changed"),
        ({"items": {"M": 0}}, order("a"), "sold_out"),
        ({"price": 5}, order("a"), "payments_unavailable"),
        ({"price": 5}, order("a", payable=True), "payment_method_required"),
    ],
)
async def test_a_refusal_leaves_no_row(
    engine: Engine, fields: dict[str, Any], wanted: dict[str, Any], outcome: str
) -> None:
    await engine.create_drop(**fields)
    assert outcomes(await engine.accept(wanted)) == [outcome]
    assert await engine.count("orders") == await engine.count("order_lines") == await engine.count("events") == 0


async def test_the_amount_comes_from_the_drop(engine: Engine) -> None:
    await engine.create_drop(items={"M": 9, "L": 9}, price=350)
    wanted = order("a", {"M": 2, "L": 1}, payable=True, request={"payment_method": "pm", "expected_amount_minor": 1050})
    assert (await engine.accept(wanted))[0]["amount_minor"] == 1050
    assert await engine.violations() == []
