"""Two who want to decide over the same money: each goes first once, and then they run free.

Whoever is first holds his rows while the other one comes. Every race that a lock decides has a control without it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import Engine, order
from tests.race.test_reserve_race import RACE_SECONDS, connections, rewrite

Call = tuple[str, Any]  # a SQL function and its argument
PRICE = 70
ROUNDS = 20
WINDOW = "PERFORM pg_sleep(1); "  # between a look and a deed: long enough for another call on a busy machine
AT_REST = {"burst": 9, "limit": 9, "pace": 1e9, "lease_seconds": 600}
ALL_LOCKS = r"BEGIN.*END"
WAITING = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
SLEEPING = "pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
BOTH_WAYS = pytest.mark.parametrize("first", [0, 1], ids=["one first", "the other first"])


async def in_turn(engine: Engine, first: Call, second: Call) -> tuple[Any, Any]:
    """The second call comes when the first is done and not yet committed; it waits, or passes by."""
    async with connections(engine.url, 2) as (one, other), asyncio.timeout(RACE_SECONDS):
        transaction = one.transaction()
        await transaction.start()
        answer = json.loads(await one.fetchval(f"SELECT {first[0]}($1::jsonb)", json.dumps(first[1])))
        later = asyncio.create_task(other.fetchval(f"SELECT {second[0]}($1::jsonb)", json.dumps(second[1])))
        while not later.done() and not await engine.count(WAITING):
            continue
        await transaction.commit()
        return answer, json.loads(await later)


async def in_window(engine: Engine, first: Call, second: Call) -> list[Any]:
    """The second call comes while the first stands in the window between its look and its deed."""
    async with connections(engine.url, 2) as (one, other), asyncio.timeout(RACE_SECONDS):
        earlier = asyncio.create_task(one.fetchval(f"SELECT {first[0]}($1::jsonb)", json.dumps(first[1])))
        while not await engine.count(SLEEPING):
            continue
        answer = await other.fetchval(f"SELECT {second[0]}($1::jsonb)", json.dumps(second[1]))
        return [json.loads(await earlier), json.loads(answer)]


async def at_once(engine: Engine, *calls: Call) -> list[Any]:
    async with connections(engine.url, len(calls)) as opened, asyncio.timeout(RACE_SECONDS):
        answers = await asyncio.gather(
            *(
                connection.fetchval(f"SELECT {function}($1::jsonb)", json.dumps(argument))
                for connection, (function, argument) in zip(opened, calls, strict=True)
            )
        )
    return [json.loads(answer) for answer in answers]


async def reserved(engine: Engine) -> str:
    """An order that holds the only unit of a drop, and has to be paid."""
    drop_id = f"drop-{uuid4().hex}"
    await engine.create_drop(drop_id, items={"M": 1}, price=PRICE, per_customer_limit=1)
    wanted = order("key", drop_id=drop_id, payable=True, request={"payment_method": "card"})
    await engine.accept(wanted)
    assert set((await engine.reserve(wanted["order_id"])).values()) == {"reserved"}
    return str(wanted["order_id"])


async def claimed(engine: Engine) -> str:
    """An order whose payment exists at the provider, and may be charged at any moment."""
    one = await reserved(engine)
    await engine.call("claim_payments", {**AT_REST, "order_ids": [one]})
    await engine.call(*fact(one, "created"))
    return one


async def late(engine: Engine) -> str:
    """As `claimed`, and its buyer's time is over."""
    one = await claimed(engine)
    await engine.connection.execute("UPDATE orders SET hold_expires_at = now() WHERE id = $1", one)
    return one


async def called_off(engine: Engine) -> str:
    """As `late`, and marked as such."""
    one = await late(engine)
    assert await engine.call(*EXPIRE) == {"expired": 1}
    return one


async def confirmed(engine: Engine) -> str:
    one = await claimed(engine)
    await engine.call(*captured(one))
    return one


async def over(engine: Engine) -> str:
    """An order whose time was over before its money came."""
    one = await called_off(engine)
    await engine.call(*fact(one, "cancelled"))
    return one


EXPIRE: Call = ("expire_holds", {"limit": 9})


def fact(one: str, outcome: str, **said: Any) -> Call:
    return "settle_payments", [{"order_id": one, "outcome": outcome, "provider_ref": f"pi-{one}", **said}]


def captured(one: str) -> Call:
    return fact(one, "captured", captured_minor=PRICE)


def cancel(one: str) -> Call:
    return "release_orders", [{"order_id": one, "reason": "buyer_cancelled"}]


def claim(one: str) -> Call:
    return "claim_payments", {**AT_REST, "order_ids": [one]}


def refund(one: str, amount: int | None = None, refund_id: str = "") -> Call:
    return "request_refund", {"refund_id": refund_id or str(uuid4()), "order_id": one, "amount_minor": amount}


async def books_of(engine: Engine, one: str) -> tuple[str, str | None, int, int, int]:
    """Status, reason, what was captured, what is to go back or has gone back, and units that are not for sale."""
    row = await engine.connection.fetchrow(
        "SELECT o.status, o.reason, p.captured_minor, i.reserved + i.sold,"
        " coalesce((SELECT sum(amount_minor) FROM refunds f WHERE f.order_id = o.id AND state <> 'failed'), 0)::integer"
        " FROM orders o JOIN payments p ON p.order_id = o.id JOIN items i ON i.drop_id = o.drop_id WHERE o.id = $1",
        one,
    )
    assert row is not None
    status, reason, captured_minor, units, back_minor = row
    return status, reason, captured_minor, back_minor, units


PAID = ("confirmed", None, PRICE, 0, 1)
PAID_AND_BACK = ("confirmed", None, PRICE, PRICE, 1)
NEVER_PAID = ("cancelled", "buyer_cancelled", 0, 0, 0)
EXPIRED_AND_BACK = ("expired", "hold_expired", PRICE, PRICE, 0)
ON_ITS_WAY_OUT = ("reserved", None, 0, 0, 1)

# Who races, from where, and how the books may stand: when one was first, and when the other one was.
Race = tuple[Callable[[Engine], Awaitable[str]], Callable[[str], Call], Callable[[str], Call], Any, Any]
RACES: dict[str, Race] = {
    "expiry, a late success": (late, lambda _: EXPIRE, captured, PAID, PAID),
    "called off, a late success": (called_off, lambda o: fact(o, "cancelled"), captured, EXPIRED_AND_BACK, PAID),
    "cancel, a webhook": (claimed, cancel, captured, PAID, PAID),
    "cancel, a webhook of a failure": (
        claimed,
        cancel,
        lambda o: fact(o, "declined", reason="card_declined"),
        ("declined", "card_declined", 0, 0, 0),
        ("declined", "card_declined", 0, 0, 0),
    ),
    "cancel, a claim": (reserved, cancel, claim, NEVER_PAID, ON_ITS_WAY_OUT),
    "expiry, cancel": (late, lambda _: EXPIRE, cancel, ON_ITS_WAY_OUT, ON_ITS_WAY_OUT),
    "a refund, a refund": (confirmed, refund, refund, PAID_AND_BACK, PAID_AND_BACK),
    "a part, another part": (
        confirmed,
        lambda o: refund(o, 40),
        lambda o: refund(o, 50),
        ("confirmed", None, PRICE, 40, 1),
        ("confirmed", None, PRICE, 50, 1),
    ),
    "a webhook, a webhook": (claimed, captured, captured, PAID, PAID),
    "a late webhook, a late webhook": (over, captured, captured, EXPIRED_AND_BACK, EXPIRED_AND_BACK),
}


@BOTH_WAYS
@pytest.mark.parametrize("name", RACES)
async def test_whoever_comes_second_finds_what_the_first_has_done(engine: Engine, name: str, first: int) -> None:
    prepare, one, other, *ends = RACES[name]
    order_id = await prepare(engine)
    calls = [one(order_id), other(order_id)]
    await in_turn(engine, calls[first], calls[1 - first])
    assert await books_of(engine, order_id) == ends[first]
    assert await engine.violations() == []


@pytest.mark.parametrize("name", RACES)
async def test_at_once_it_is_as_if_one_had_been_first(engine: Engine, name: str) -> None:
    prepare, one, other, *ends = RACES[name]
    for _ in range(ROUNDS):
        order_id = await prepare(engine)
        await at_once(engine, one(order_id), other(order_id))
        assert await books_of(engine, order_id) in ends
    assert await engine.violations() == []


def outcomes(answers: Iterable[Any]) -> list[str]:
    return sorted(answer["outcome"] if isinstance(answer, dict) else answer[0]["outcome"] for answer in answers)


async def test_what_each_is_told(engine: Engine) -> None:
    """An operator, a buyer or a webhook that comes second is told so."""
    assert outcomes(await in_turn(engine, *twice(captured, await claimed(engine)))) == ["confirmed", "confirmed"]
    assert outcomes(await in_turn(engine, *twice(captured, await over(engine)))) == ["expired", "refund_due"]
    assert outcomes(await in_turn(engine, *twice(refund, await confirmed(engine)))) == ["nothing_left", "recorded"]
    one = await claimed(engine)
    assert outcomes(await in_turn(engine, captured(one), cancel(one))) == ["confirmed", "too_late"]
    one = await claimed(engine)
    assert outcomes(await in_turn(engine, cancel(one), captured(one))) == ["cancelling", "confirmed"]
    one = await confirmed(engine)
    assert outcomes(await in_turn(engine, refund(one, 40), refund(one, 40))) == ["recorded", "too_much"]


async def test_two_orders_refunds_under_one_id_are_one(engine: Engine) -> None:
    same = str(uuid4())
    calls = [refund(await confirmed(engine), None, same) for _ in range(2)]
    assert outcomes(await in_turn(engine, *calls)) == ["conflict", "recorded"]
    assert await engine.count("refunds") == 1


def twice(call: Callable[[str], Call], one: str) -> tuple[Call, Call]:
    return call(one), call(one)


async def test_control_without_locks_two_refunds_are_more_than_was_captured(engine: Engine) -> None:
    await rewrite(engine, "lock_orders", (ALL_LOCKS, "BEGIN NULL; END"))
    await rewrite(engine, "request_refund", (r"(?=IF verdict = 'recorded')", WINDOW))
    one = await confirmed(engine)
    assert outcomes(await in_window(engine, refund(one), refund(one))) == ["recorded", "recorded"]
    assert await engine.violations() != []


async def test_control_without_locks_two_late_webhooks_give_the_money_back_twice(engine: Engine) -> None:
    one = await over(engine)
    await rewrite(engine, "lock_orders", (ALL_LOCKS, "BEGIN NULL; END"))
    await rewrite(engine, "settle_payments", (r"(?=verdict := NULL;)", WINDOW))
    assert outcomes(await in_window(engine, *twice(captured, one))) == ["refund_due", "refund_due"]
    assert await engine.violations() != []


async def test_control_without_locks_an_order_is_cancelled_while_it_is_charged(engine: Engine) -> None:
    one = await reserved(engine)
    await rewrite(engine, "lock_orders", (ALL_LOCKS, "BEGIN NULL; END"))
    await rewrite(engine, "release_orders", (r"(?=IF o.is_uncharged)", WINDOW))
    released, found = await in_window(engine, cancel(one), claim(one))
    assert (outcomes([released]), len(found["claimed"])) == (["cancelled"], 1)


async def test_an_order_is_cancelled_or_charged_as_long_as_the_controls_window_is_open(engine: Engine) -> None:
    await rewrite(engine, "release_orders", (r"(?=IF o.is_uncharged)", WINDOW))
    one = await reserved(engine)
    released, found = await at_once(engine, cancel(one), claim(one))
    assert (outcomes([released]), len(found["claimed"])) in ((["cancelled"], 0), (["cancelling"], 1))


async def times_claimed(engine: Engine) -> int:
    """How many of two workers, each told of the same payment, get it."""
    one = await reserved(engine)
    return sum(len(found["claimed"]) for found in await at_once(engine, claim(one), claim(one)))


async def test_control_without_a_second_look_two_workers_get_one_payment(engine: Engine) -> None:
    await rewrite(engine, "claim_payments", (r"AND \(due_at <= clock_timestamp\(\) OR .*?'action_required'\)\)", ""))
    assert await times_claimed(engine) == 2


async def test_one_of_two_workers_gets_a_payment(engine: Engine) -> None:
    assert [await times_claimed(engine) for _ in range(ROUNDS)] == [1] * ROUNDS


async def test_workers_together_keep_the_pace(engine: Engine) -> None:
    """Eight of them, twice as many payments, and a bucket of five that nothing fills."""
    for _ in range(16):
        await reserved(engine)
    await engine.connection.execute("UPDATE payment_pace SET tokens = 5")
    found = await at_once(engine, *[("claim_payments", {**AT_REST, "limit": 2, "pace": 0})] * 8)
    taken = [entry["order_id"] for answer in found for entry in answer["claimed"]]
    assert len(taken) == len(set(taken)) == 5
