"""Many connections want the same rows at once. Every race has a control: the same race without what protects it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.conftest import Engine, order

RACERS = 8
RACE_SECONDS = 60

# What the sabotaged copies replace: the statements that lock rows, and the place between reading and deciding.
ITEM_LOCKS = r"PERFORM 1 FROM items\b.*?FOR NO KEY UPDATE;"
LIMIT_LOCKS = r"PERFORM 1 FROM customer_limits\b.*?FOR NO KEY UPDATE;"
KEY_LOCKS = r"PERFORM pg_advisory_xact_lock\(.*?AS keys;"
BEFORE_DECIDING = r"(?=FOR o IN\b)"
WINDOW = "PERFORM pg_sleep(0.1);\n"

LOCKS_IN_CART_ORDER = """
    FOR o IN SELECT r.drop_id, l->>'sku' AS sku FROM orders r, jsonb_array_elements(r.request->'items') AS l
             WHERE r.id = ANY (asked) LOOP
        PERFORM 1 FROM items WHERE drop_id = o.drop_id AND sku = o.sku FOR NO KEY UPDATE;
        PERFORM pg_sleep(0.1);
    END LOOP;
"""

SLOW_INSERTS = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$;
    CREATE TRIGGER dawdle BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


async def rewrite(engine: Engine, function: str, *changes: tuple[str, str]) -> None:
    """Replace a function of this test's own database by a copy in which each pattern, found once, reads otherwise."""
    text = str(await engine.connection.fetchval("SELECT pg_get_functiondef($1::text::regproc)", function))
    for pattern, replacement in changes:
        text, found = re.subn(pattern, replacement.replace("\\", r"\\"), text, flags=re.DOTALL)
        assert found == 1, f"{function} has {found} times {pattern}"
    await engine.connection.execute(text)


@asynccontextmanager
async def connections(url: str, count: int) -> AsyncIterator[list[asyncpg.Connection[Any]]]:
    """Connections that are open before the race begins, and that are told of a deadlock soon."""
    opened = [await asyncpg.connect(url, server_settings={"deadlock_timeout": "100ms"}) for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            await connection.close()


async def race(url: str, function: str, batches: Sequence[Sequence[object]]) -> list[Any]:
    """Every batch on a connection of its own, all at once; answers and errors in the order of the batches."""
    async with connections(url, len(batches)) as opened, asyncio.timeout(RACE_SECONDS):
        return await asyncio.gather(
            *(
                connection.fetchval(f"SELECT {function}($1::jsonb)", json.dumps(batch))
                for connection, batch in zip(opened, batches, strict=True)
            ),
            return_exceptions=True,
        )


async def reserve_race(url: str, batches: Sequence[Sequence[dict[str, Any]]]) -> list[Any]:
    """Race reserve_orders for accepted orders."""
    return await race(url, "reserve_orders", [[{"order_id": one["order_id"]} for one in batch] for batch in batches])


def errors(answers: Sequence[Any]) -> list[BaseException]:
    return [answer for answer in answers if isinstance(answer, BaseException)]


async def accepted_orders_for_one_sku(engine: Engine, stock: int) -> list[list[dict[str, Any]]]:
    """Two orders of one unit for every racer, accepted while all of the stock is free."""
    await engine.create_drop(items={"M": stock})
    batches = [[order(f"{racer}-{n}") for n in range(2)] for racer in range(RACERS)]
    await engine.accept(*(one for batch in batches for one in batch))
    return batches


async def units(engine: Engine) -> tuple[int, int]:
    """Units sold: as the counters say, as the ledger says."""
    sold = await engine.connection.fetchval("SELECT sum(sold) FROM items")
    booked = await engine.connection.fetchval("SELECT coalesce(sum(quantity), 0) FROM ledger WHERE kind = 'sell'")
    return int(sold), int(booked)


async def test_control_without_row_locks_the_race_oversells(engine: Engine) -> None:
    await rewrite(engine, "reserve_orders", (ITEM_LOCKS, ""), (BEFORE_DECIDING, WINDOW))
    await engine.connection.execute("ALTER TABLE items DROP CONSTRAINT items_never_oversold")
    batches = await accepted_orders_for_one_sku(engine, stock=5)
    assert errors(await reserve_race(engine.url, batches)) == []
    sold, booked = await units(engine)
    assert sold > 5
    assert booked > 5
    assert await engine.violations() != []


@pytest.mark.parametrize("window", ["", WINDOW], ids=["as it is", "with the control's window"])
async def test_the_race_for_one_sku_sells_exactly_the_stock(engine: Engine, window: str) -> None:
    await rewrite(engine, "reserve_orders", (BEFORE_DECIDING, window))
    batches = await accepted_orders_for_one_sku(engine, stock=5)
    assert errors(await reserve_race(engine.url, batches)) == []
    assert await units(engine) == (5, 5)
    assert await engine.count("orders WHERE status = 'confirmed'") == 5
    assert await engine.count("orders WHERE status = 'sold_out'") == 2 * RACERS - 5
    assert await engine.violations() == []


async def test_the_same_orders_delivered_to_every_connection_are_sold_once(engine: Engine) -> None:
    batches = await accepted_orders_for_one_sku(engine, stock=5)
    everything = [one for batch in batches for one in batch]
    answers = await reserve_race(engine.url, [everything, everything[::-1]] * (RACERS // 2))
    assert errors(answers) == []
    told = [{entry["order_id"]: entry["outcome"] for entry in json.loads(answer)} for answer in answers]
    assert all(one == told[0] for one in told)
    assert await units(engine) == (5, 5)
    assert await engine.violations() == []


async def accepted_carts(engine: Engine, stock: int) -> list[list[dict[str, Any]]]:
    """A cart of four SKUs for every racer, half of them in the opposite order."""
    skus = ["A", "B", "C", "D"]
    await engine.create_drop(items=dict.fromkeys(skus, stock))
    batches = [[order(str(racer), dict.fromkeys(skus[:: -1 if racer % 2 else 1], 1))] for racer in range(RACERS)]
    await engine.accept(*(one for batch in batches for one in batch))
    return batches


async def test_control_locks_in_the_order_of_the_cart_deadlock(engine: Engine) -> None:
    await rewrite(engine, "reserve_orders", (ITEM_LOCKS, LOCKS_IN_CART_ORDER))
    failed = errors(await reserve_race(engine.url, await accepted_carts(engine, stock=5)))
    assert failed
    assert {type(error) for error in failed} == {asyncpg.DeadlockDetectedError}


async def test_carts_in_opposite_orders_do_not_deadlock(engine: Engine) -> None:
    batches = await accepted_carts(engine, stock=5)
    assert errors(await reserve_race(engine.url, batches)) == []
    assert await units(engine) == (20, 20)
    assert await engine.count("orders WHERE status = 'confirmed'") == 5
    assert await engine.violations() == []


def batches_of_the_same_keys() -> list[list[dict[str, Any]]]:
    """The same orders for every racer, half of them in the opposite order."""
    wanted = [order(f"key-{n}") for n in range(6)]
    wanted.sort(key=lambda one: str(one["order_id"]))
    return [wanted[:: -1 if racer % 2 else 1] for racer in range(RACERS)]


async def test_control_without_on_conflict_the_same_keys_break_the_batch(engine: Engine) -> None:
    await engine.create_drop(items={"M": 99})
    await rewrite(engine, "accept_orders", (r"ON CONFLICT DO NOTHING", ""))
    failed = errors(await race(engine.url, "accept_orders", batches_of_the_same_keys()))
    assert [type(error) for error in failed] == [asyncpg.UniqueViolationError] * (RACERS - 1)


async def test_control_without_locks_on_keys_rows_in_the_order_of_the_batch_deadlock(engine: Engine) -> None:
    await engine.create_drop(items={"M": 99})
    await engine.connection.execute(SLOW_INSERTS)
    await rewrite(
        engine, "accept_orders", (KEY_LOCKS, ""), (r"FROM chosen ORDER BY order_id", "FROM chosen ORDER BY n")
    )
    failed = errors(await race(engine.url, "accept_orders", batches_of_the_same_keys()))
    assert failed
    assert {type(error) for error in failed} == {asyncpg.DeadlockDetectedError}


@pytest.mark.parametrize("slow", [False, True], ids=["as it is", "with the control's window"])
async def test_the_same_keys_in_opposite_orders_give_one_order_each(engine: Engine, slow: bool) -> None:
    await engine.create_drop(items={"M": 99})
    if slow:
        await engine.connection.execute(SLOW_INSERTS)
    answers = await race(engine.url, "accept_orders", batches_of_the_same_keys())
    assert errors(answers) == []
    verdicts = [verdict for answer in answers for verdict in json.loads(answer)]
    created = [verdict["order_id"] for verdict in verdicts if verdict["outcome"] == "created"]
    assert len(created) == len(set(created)) == 6
    assert {verdict["outcome"] for verdict in verdicts} == {"created", "replayed"}
    assert await engine.count("orders") == 6
    assert await engine.violations() == []


async def accepted_orders_of_one_customer(engine: Engine) -> list[list[dict[str, Any]]]:
    """One order for every racer, each for a SKU of its own, by a customer who has bought one unit of three before.

    That first unit matters: it is the row whose lock the control leaves out. Without it, the insertion of
    the row would hold the racers back.
    """
    skus = [f"S{racer}" for racer in range(RACERS)]
    await engine.create_drop(items=dict.fromkeys(skus, 9), per_customer_limit=3)
    first = order("first", {"S0": 1}, customer="x")
    await engine.accept(first)
    assert await engine.reserve(first["order_id"]) == {first["order_id"]: "confirmed"}
    batches = [[order(sku, {sku: 1}, customer="x")] for sku in skus]
    await engine.accept(*(one for batch in batches for one in batch))
    return batches


async def test_control_without_its_lock_a_limit_is_exceeded(engine: Engine) -> None:
    batches = await accepted_orders_of_one_customer(engine)
    await rewrite(engine, "reserve_orders", (LIMIT_LOCKS, ""), (BEFORE_DECIDING, WINDOW))
    assert errors(await reserve_race(engine.url, batches)) == []
    assert (await units(engine))[0] > 3


@pytest.mark.parametrize("window", ["", WINDOW], ids=["as it is", "with the control's window"])
async def test_a_limit_holds_across_parallel_batches_of_different_skus(engine: Engine, window: str) -> None:
    batches = await accepted_orders_of_one_customer(engine)
    await rewrite(engine, "reserve_orders", (BEFORE_DECIDING, window))
    assert errors(await reserve_race(engine.url, batches)) == []
    assert await units(engine) == (3, 3)
    assert await engine.count("orders WHERE reason = 'limit_exceeded'") == RACERS - 2
    assert await engine.violations() == []


async def test_a_limit_holds_for_a_customer_nobody_has_seen_before(engine: Engine) -> None:
    skus = [f"S{racer}" for racer in range(RACERS)]
    await engine.create_drop(items=dict.fromkeys(skus, 9), per_customer_limit=3)
    batches = [[order(sku, {sku: 1}, customer="x")] for sku in skus]
    await engine.accept(*(one for batch in batches for one in batch))
    assert errors(await reserve_race(engine.url, batches)) == []
    assert await units(engine) == (3, 3)
    assert await engine.violations() == []


async def outcomes_of_a_copy_that_comes_later(engine: Engine) -> list[str]:
    """The first copy is accepted, but not yet committed, when the last unit goes; the second one comes after that."""
    await engine.create_drop(items={"M": 1})
    await engine.accept(order("other"))
    copy = json.dumps([order("copied")])
    async with connections(engine.url, 2) as (first, second), asyncio.timeout(RACE_SECONDS):
        transaction = first.transaction()
        await transaction.start()
        accepted = json.loads(await first.fetchval("SELECT accept_orders($1::jsonb)", copy))
        await engine.reserve(order("other")["order_id"])
        answer = asyncio.create_task(second.fetchval("SELECT accept_orders($1::jsonb)", copy))
        while not answer.done() and not await engine.count(
            "pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ):
            continue
        await transaction.commit()
        return [verdict["outcome"] for verdict in (*accepted, *json.loads(await answer))]


async def test_control_without_locks_on_keys_a_copy_is_refused(engine: Engine) -> None:
    await rewrite(engine, "accept_orders", (KEY_LOCKS, ""))
    assert await outcomes_of_a_copy_that_comes_later(engine) == ["created", "sold_out"]


async def test_a_copy_waits_for_the_one_before_it_and_is_never_refused_for_it(engine: Engine) -> None:
    assert await outcomes_of_a_copy_that_comes_later(engine) == ["created", "replayed"]
