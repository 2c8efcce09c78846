"""`merchdrop order show` and `merchdrop audit` on a real database."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from cli.books import LISTED_MAX, PRINTED_MAX
from tests.command import COLUMNS, fail, run, succeed
from tests.conftest import Engine, order

UNKNOWN = "0b9a5b0e-0000-8000-8000-000000000000"


async def show(engine: Engine, *arguments: str) -> str:
    return await asyncio.to_thread(succeed, *arguments, url=engine.url)


async def ordered(engine: Engine) -> str:
    """The id of a confirmed order for two SKUs."""
    await engine.create_drop(items={"M": 3, "L": 3})
    wanted = order("a", {"M": 2, "L": 1})
    await engine.accept(wanted)
    await engine.reserve(wanted["order_id"])
    return str(wanted["order_id"])


async def test_an_order_is_shown_whole(engine: Engine) -> None:
    one = await ordered(engine)
    shown = json.loads(await show(engine, "order", "show", one, "--json"))
    assert {"order_id": one, "drop_id": "drop", "status": "confirmed", "reason": None}.items() <= shown.items()
    assert {item["sku"]: item["quantity"] for item in shown["items"]} == {"M": 2, "L": 1}
    assert shown["accepted_at"].endswith("+00:00")
    for_people = await show(engine, "order", "show", one.upper())
    assert all(word in for_people for word in (one, "confirmed", "a\n", "UTC", "unit price"))
    assert "reason" not in for_people
    assert max(map(len, for_people.splitlines())) <= COLUMNS


def test_an_order_that_has_no_row_may_be_in_the_queue(database_url: str) -> None:
    assert "may still be in the queue" in fail("order", "show", UNKNOWN, url=database_url)


def test_a_word_that_is_no_order_id_is_refused(database_url: str) -> None:
    assert "'first' is not a valid UUID" in fail("order", "show", "first", url=database_url, status=2)


async def test_an_order_without_lines_can_still_be_looked_at(engine: Engine) -> None:
    one = await ordered(engine)
    await engine.connection.execute("DELETE FROM order_lines")
    assert "confirmed" in await show(engine, "order", "show", one)


async def test_sound_books_are_told_to_be(engine: Engine) -> None:
    await ordered(engine)
    for arguments in ((), ("drop",)):
        assert await show(engine, "audit", *arguments) == "0 violations, 0 late orders\n"
        assert json.loads(await show(engine, "audit", *arguments, "--json")) == {"violations": [], "late": []}


def test_the_books_of_a_drop_that_is_not_there_are_not_sound(database_url: str) -> None:
    assert "no drop 'nope'" in fail("audit", "nope", url=database_url)


async def audit(engine: Engine, *arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(run, "audit", *arguments, url=engine.url)
    return result.exit_code, result.stdout


async def test_a_broken_promise_is_told_with_exit_status_1(engine: Engine) -> None:
    one = await ordered(engine)
    await engine.create_drop("other")
    await engine.connection.execute("UPDATE orders SET event_seq = 7")
    status, told = await audit(engine)
    assert status == 1
    assert (
        f"Promise 3 is broken, drop drop, order {one}:\n  4 of its events are missing, or their numbers are wrong\n"
        in told
    )
    assert told.endswith("1 violation, 0 late orders\n")
    assert (await audit(engine, "other"))[0] == 0
    status, told = await audit(engine, "drop", "--json")
    violation: dict[str, Any] = {"promise": 3, "drop_id": "drop", "order_id": one}
    assert (status, json.loads(told)["violations"][0].items() >= violation.items()) == (1, True)


async def test_an_orphan_is_told_although_its_drop_is_not_there(engine: Engine) -> None:
    await ordered(engine)
    await engine.connection.execute("UPDATE orders SET drop_id = 'gone'")
    status, told = await audit(engine, "gone")
    assert (status, "belongs to a drop that does not exist" in told) == (1, True)


async def test_a_late_order_is_told_and_breaks_no_promise(engine: Engine) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    await engine.connection.execute("UPDATE orders SET accepted_at = '2026-01-02 03:04:05Z'")
    status, told = await audit(engine)
    assert status == 0
    assert f"Late, drop drop, order {order('a')['order_id']}:\n  accepted since 2026-01-02 03:04:05 UTC\n" in told
    assert told.endswith("0 violations, 1 late order\n")
    document = tell_late(await audit(engine, "--json"))
    assert document["order_id"] == order("a")["order_id"]


async def test_a_paused_drops_orders_wait_on_purpose_until_it_should_have_ended(engine: Engine) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "paused"})
    await engine.connection.execute("UPDATE orders SET accepted_at = '2026-01-02 03:04:05Z'")
    assert (await audit(engine))[1].endswith("0 violations, 0 late orders\n")
    await engine.connection.execute("UPDATE drops SET starts_at = '2026-01-01Z', ends_at = '2026-01-03Z'")
    assert (await audit(engine))[1].endswith("0 violations, 1 late order\n")


async def test_money_that_does_not_get_back_is_late(engine: Engine) -> None:
    await engine.create_drop(price=5)
    one = order("a", payable=True, request={"payment_method": "pm"})
    await engine.accept(one)
    await engine.reserve(one["order_id"])
    fact = {"order_id": one["order_id"], "provider_ref": "pi"}
    await engine.call("settle_payments", [{**fact, "outcome": "created"}])
    await engine.call("settle_payments", [{**fact, "outcome": "captured", "captured_minor": 5}])
    await engine.call("request_refund", {"refund_id": str(uuid4()), "order_id": one["order_id"]})
    assert (await audit(engine))[1].endswith("0 violations, 0 late orders\n")
    await engine.connection.execute("UPDATE refunds SET created_at = '2026-01-02 03:04:05Z'")
    assert "refund due since 2026-01-02 03:04:05 UTC" in (await audit(engine))[1]


def tell_late(result: tuple[int, str]) -> dict[str, Any]:
    (late,) = json.loads(result[1])["late"]
    return dict(late)


@pytest.mark.parametrize("count", [PRINTED_MAX + 1, LISTED_MAX + 1])
async def test_one_cause_with_many_effects_does_not_fill_the_screen(engine: Engine, count: int) -> None:
    await engine.create_drop(items={"M": 10_000})
    await engine.accept(*(order(f"key-{number}") for number in range(count)))
    await engine.connection.execute("UPDATE orders SET amount_minor = 7")
    status, told = await audit(engine)
    lines = told.splitlines()
    assert (status, len(lines), lines[-2]) == (1, 2 * PRINTED_MAX + 2, "… and more; --json lists them")
    expected = f"{count} violations" if count < LISTED_MAX else f"{LISTED_MAX} or more violations"
    assert lines[-1] == f"{expected}, 0 late orders"
