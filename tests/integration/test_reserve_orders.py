"""reserve_orders and release_orders: whole orders, oldest first, every unit in the books."""

from __future__ import annotations

from typing import Any

from tests.conftest import Engine, order


async def decide(engine: Engine, *orders: dict[str, object]) -> dict[str, str]:
    """Accept orders one after the other, then decide them in one batch; status by key."""
    for wanted in orders:
        await engine.accept(wanted)
    found = await engine.reserve(*(str(wanted["order_id"]) for wanted in orders))
    return {str(wanted["idempotency_key"]): found[str(wanted["order_id"])] for wanted in orders}


async def test_an_order_that_does_not_fit_leaves_its_units_to_the_next(engine: Engine) -> None:
    await engine.create_drop(items={"M": 5})
    statuses = await decide(engine, order("a", {"M": 3}), order("b", {"M": 3}), order("c", {"M": 2}))
    assert statuses == {"a": "confirmed", "b": "sold_out", "c": "confirmed"}
    assert await engine.violations() == []


async def test_all_lines_of_an_order_or_none(engine: Engine) -> None:
    await engine.create_drop(items={"M": 5, "L": 1})
    statuses = await decide(engine, order("a", {"M": 1, "L": 1}), order("b", {"M": 1, "L": 1}), order("c", {"M": 4}))
    assert statuses == {"a": "confirmed", "b": "sold_out", "c": "confirmed"}
    assert await engine.violations() == []


async def test_a_limit_counts_across_the_orders_of_a_customer(engine: Engine) -> None:
    await engine.create_drop(items={"M": 9}, per_customer_limit=3)
    first = await decide(engine, order("a", {"M": 2}, customer="x"), order("b", {"M": 2}, customer="x"))
    second = await decide(engine, order("c", customer="x"), order("d", customer="x"), order("e", customer="y"))
    assert first == {"a": "confirmed", "b": "rejected"}
    assert second == {"c": "confirmed", "d": "rejected", "e": "confirmed"}
    assert await engine.count("orders WHERE reason = 'limit_exceeded'") == 2
    assert await engine.violations() == []


async def test_a_repeated_delivery_changes_nothing(engine: Engine) -> None:
    await engine.create_drop()
    await decide(engine, order("a"))
    one = order("a")["order_id"]
    assert await engine.reserve(one, one) == {one: "confirmed"}
    assert await engine.count("ledger WHERE kind = 'sell'") == 1
    assert await engine.violations() == []


async def test_orders_of_a_paused_drop_stay_accepted_and_go_on_afterwards(engine: Engine) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "paused"})
    one = order("a")["order_id"]
    bounds = {"limit": 9, "after_seconds": 0, "pause_seconds_max": 9}
    assert await engine.reserve(one) == {one: "paused"}
    assert await engine.call("claim_waiting_orders", bounds) == []
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "live"})
    assert [message["order_id"] for message in await engine.call("claim_waiting_orders", bounds)] == [one]
    assert await engine.reserve(one) == {one: "confirmed"}


async def test_an_order_accepted_before_the_close_is_still_decided(engine: Engine) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "ended"})
    assert await engine.reserve(order("a")["order_id"]) == {order("a")["order_id"]: "confirmed"}


async def test_a_reserved_order_gives_its_units_back_when_cancelled(engine: Engine) -> None:
    await engine.create_drop(items={"M": 1}, price=5)
    paid: dict[str, Any] = {"payable": True, "request": {"payment_method": "pm"}}
    assert await decide(engine, order("a", **paid)) == {"a": "reserved"}
    cancel = [{"order_id": order("a")["order_id"], "reason": "buyer_cancelled"}]
    for _ in range(2):
        assert (await engine.call("release_orders", cancel))[0]["outcome"] == "cancelled"
    assert await decide(engine, order("b", **paid)) == {"b": "reserved"}
    assert await engine.violations() == []


async def test_a_confirmed_order_is_past_cancelling_and_an_accepted_one_is_not(engine: Engine) -> None:
    await engine.create_drop()
    await decide(engine, order("a"))
    await engine.accept(order("b"))
    cancel = [{"order_id": order(key)["order_id"], "reason": "buyer_cancelled"} for key in "ab"]
    outcomes = {outcome["order_id"]: outcome["outcome"] for outcome in await engine.call("release_orders", cancel)}
    assert outcomes == {order("a")["order_id"]: "too_late", order("b")["order_id"]: "cancelled"}
    assert await engine.violations() == []
