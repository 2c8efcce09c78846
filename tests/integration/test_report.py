"""`merchdrop drop report`: figures that stay the same months later."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import uuid4

from tests.command import COLUMNS, fail, succeed, tell
from tests.conftest import Engine, order
from tests.till import Till


async def sold(engine: Engine) -> None:
    """Four units, five buyers: one is late, one gets all his money back for the unit, one a part of it."""
    await engine.create_drop(price=5, items={"M": 3, "L": 1})
    wanted = [order(k, {"L" if k == "l" else "M": 1}, payable=True, request={"payment_method": "pm"}) for k in "abcdl"]
    await engine.accept(*wanted)
    await engine.reserve(*(one["order_id"] for one in wanted))
    for one in wanted:
        if one["idempotency_key"] != "d":
            fact = {"order_id": one["order_id"], "provider_ref": f"pi-{one['idempotency_key']}"}
            captured = {**fact, "outcome": "captured", "captured_minor": 5}
            await engine.call("settle_payments", [{**fact, "outcome": "created"}, captured])
    for key, amount in (("a", 5), ("b", 2)):
        refund = {"refund_id": str(uuid4()), "order_id": order(key)["order_id"], "amount_minor": amount}
        await engine.call("request_refund", {**refund, "restock": amount == 5})
        done = {"refund_id": refund["refund_id"], "outcome": "succeeded", "provider_ref": f"re-{key}"}
        await engine.call("settle_refunds", [done])
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "ended"})


async def report(engine: Engine) -> dict[str, Any]:
    return dict(await asyncio.to_thread(tell, "drop", "report", "drop", url=engine.url))


async def test_it_tells_units_orders_money_times_and_audit(engine: Engine) -> None:
    await sold(engine)
    told = await report(engine)
    units = {i["sku"]: (i["stock"], i["sold"], i["reserved"], i["available"]) for i in told["items"]}
    assert units == {"M": (3, 2, 0, 1), "L": (1, 1, 0, 0)}
    orders = {(o["status"], o["reason"]): o["orders"] for o in told["orders"]}
    assert orders == {("confirmed", None): 3, ("refunded", "operator"): 1, ("sold_out", None): 1}
    assert told["money"] == {"payments": 4, "captured_minor": 20, "refunded_minor": 7}
    assert told["audit"] == {"violations": 0, "accepted": 0, "sealed_at": None}
    assert told["provider_money"] is None
    for times in (told["decision_seconds"], told["payment_seconds"]):
        assert 0 < times["p50"] <= times["p90"] <= times["p99"]
    last_taken = await engine.connection.fetchval("SELECT max(at) FROM ledger WHERE kind = 'reserve'")
    first = await engine.connection.fetchval("SELECT min(accepted_at) FROM orders")
    assert datetime.fromisoformat(told["sold_out_at"]) == last_taken
    assert abs(told["sell_out_seconds"] - (last_taken - first).total_seconds()) < 0.01


async def test_percentiles_are_of_what_was_measured(engine: Engine) -> None:
    await engine.create_drop(items={"M": 100})
    await engine.accept(*(order(str(number)) for number in range(100)))
    await engine.reserve(*(order(str(number))["order_id"] for number in range(100)))
    await engine.connection.execute("""
        UPDATE events SET occurred_at = '2026-01-01Z'::timestamptz + CASE seq WHEN 1 THEN interval '0' ELSE
            make_interval(secs => 1 + (SELECT idempotency_key::integer FROM orders WHERE id = order_id)) END""")
    told = await report(engine)
    assert told["decision_seconds"] == {"p50": 50, "p90": 90, "p99": 99}
    assert told["payment_seconds"] is None  # nothing was to be paid


async def test_it_says_the_same_after_customers_were_erased(engine: Engine) -> None:
    await sold(engine)
    before = await report(engine)
    await engine.connection.execute("UPDATE drops SET starts_at = '2020-01-01Z', ends_at = '2020-01-02Z'")
    erased = await engine.call("erase_personal_data", {"limit": 100, "retention_days": 90})
    assert (erased["orders"], erased["drops"]) == (5, 1)
    after = await report(engine)
    window = ("starts_at", "ends_at")
    assert {k: v for k, v in after.items() if k not in window} == {k: v for k, v in before.items() if k not in window}


async def test_what_was_accepted_and_sealed_is_told(engine: Engine) -> None:
    await sold(engine)
    await engine.connection.execute("UPDATE items SET sold = sold - 1")
    assert (await report(engine))["audit"]["violations"] == 2
    wanted = {"drop_id": "drop", "reason": "known", "os_user": "ann"}
    assert await engine.call("accept_violations", wanted) == {"accepted": 2}
    await engine.connection.execute("UPDATE drops SET sealed_at = '2026-05-06 07:08:09Z'")
    sealed = {"violations": 0, "accepted": 2, "sealed_at": "2026-05-06T07:08:09+00:00"}
    assert (await report(engine))["audit"] == sealed


async def test_it_can_be_read_by_people(engine: Engine) -> None:
    await sold(engine)
    told = await asyncio.to_thread(succeed, "drop", "report", "drop", url=engine.url)
    for words in ("sold out", "after the first order", "half within", "0 violations", "USD"):
        assert words in told, words
    assert ["refunded", "operator", "1"] in [line.split() for line in told.splitlines()]
    assert ["here", "4", "20", "7", "13"] in [line.split() for line in told.splitlines()]
    assert max(map(len, told.splitlines())) <= COLUMNS


async def test_the_providers_own_figures_stand_beside_ours(till: Till) -> None:
    one = await till.charged("a")
    await till.charged("b")
    await till.tell("order", "refund", one, "--amount", "1000")
    told = await till.tell("drop", "report", till.drop_id)
    assert told["provider_money"] == told["money"] == {"payments": 2, "captured_minor": 7000, "refunded_minor": 1000}
    await till.engine.connection.execute("UPDATE payments SET captured_minor = 0 WHERE refunded_minor = 0")
    shown = [line.split() for line in (await till.run("drop", "report", till.drop_id)).stdout.splitlines()]
    assert ["here", "2", "3500", "1000", "2500"] in shown
    assert ["there", "2", "7000", "1000", "6000"] in shown


async def test_a_drop_that_nobody_bought_from_has_a_report(engine: Engine) -> None:
    await engine.create_drop()
    told = await report(engine)
    assert (told["orders"], told["sold_out_at"], told["sell_out_seconds"], told["decision_seconds"]) == (
        [],
        None,
        None,
        None,
    )
    assert "never" in await asyncio.to_thread(succeed, "drop", "report", "drop", url=engine.url)


def test_an_unknown_drop_has_none(database_url: str) -> None:
    assert "no drop 'nope'" in fail("drop", "report", "nope", url=database_url)
