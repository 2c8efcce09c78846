"""Personal data goes: all of a drop's when its time is over, one customer's at once. Books, money and replays stay."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from common.database import Database
from common.reconcile import erase_personal_data
from tests.conftest import Engine, order
from tests.outages import awaited

PERSONAL = ("ann-1", "ann@example.com", "Elm Street", "newsletter")
WAITS = "pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
OTHERS = ("bob-2", "bob@example.com", "Oak Street")


def bought(key: str, *, who: str = "ann-1", drop_id: str = "drop", units: int = 1, **fields: Any) -> dict[str, Any]:
    """An order with everything personal in it that a request can hold."""
    name = who.partition("-")[0]
    street = {"ann": "Elm Street", "bob": "Oak Street"}[name]
    request = {
        "customer": {"id": who, "email": f"{name}@example.com"},
        "shipping": {"name": name, "address": {"street": street}},
        "metadata": {"utm": "newsletter"},
        **fields.pop("request", {}),
    }
    return order(key, {"M": units}, drop_id=drop_id, request=request, **fields)


async def sell(engine: Engine, *orders: dict[str, Any]) -> None:
    await engine.accept(*orders)
    await engine.reserve(*(one["order_id"] for one in orders))


async def everything(engine: Engine) -> str:
    """All that the database holds, as text."""
    tables = await engine.connection.fetch("SELECT relname FROM pg_stat_user_tables WHERE relname <> 'alembic_version'")
    rows = [await engine.connection.fetch(f"SELECT t::text FROM {table['relname']} t") for table in tables]
    return "\n".join(str(row[0]) for found in rows for row in found)


async def remains(engine: Engine, words: tuple[str, ...]) -> set[str]:
    text = await everything(engine)
    return {word for word in words if word in text}


async def over(engine: Engine, days: int, state: str = "ended") -> None:
    """Every drop ended so long ago."""
    window = "starts_at = now() - interval '2 years', ends_at = now() - make_interval(days => $1)"
    await engine.connection.execute(f"UPDATE drops SET {window}, state = $2", days, state)


async def erase(engine: Engine, limit: int = 1000, days: int = 90) -> dict[str, int]:
    database = Database(engine.url)
    try:
        return (await erase_personal_data.run_once(database, limit, days)).counts
    finally:
        await database.close()


async def erase_customer(engine: Engine, who: str = "ann-1", **fields: Any) -> dict[str, int]:
    counts: dict[str, int] = await engine.call("erase_customer", {"customer_id": who, **fields})
    return {name: count for name, count in counts.items() if count}


async def books(engine: Engine) -> list[list[asyncpg.Record]]:
    """Units, money, states and events."""
    return [
        await engine.connection.fetch(f"SELECT {columns} ORDER BY 1, 2")
        for columns in (
            "drop_id, sku, stock, reserved, sold FROM items",
            "id, drop_id, sku, order_id, kind, quantity, at FROM ledger",
            "id, status, reason, amount_minor, fingerprint, idempotency_key, accepted_at, updated_at FROM orders",
            "id, order_id, seq, type, occurred_at FROM events",
        )
    ]


async def test_what_is_past_its_time_is_erased_and_the_books_stay(engine: Engine) -> None:
    await engine.create_drop(per_customer_limit=2, items={"M": 3})
    await sell(engine, bought("a"), bought("b"), bought("c", who="bob-2"), bought("d", who="bob-2", units=2))
    assert await remains(engine, PERSONAL + OTHERS) == set(PERSONAL + OTHERS)
    await over(engine, days=89)
    assert not any((await erase(engine)).values())
    await over(engine, days=91)
    before = await books(engine)
    assert await erase(engine) == {"orders": 4, "messages": 0, "drops": 1}
    assert await remains(engine, PERSONAL + OTHERS) == set()
    assert (await books(engine), await engine.violations()) == (before, [])
    assert await engine.count("(SELECT DISTINCT customer_id FROM orders) c") == 2
    assert await engine.connection.fetchval("SELECT request->'items'->0->>'sku' FROM orders LIMIT 1") == "M"
    assert not any((await erase(engine)).values())


async def test_a_key_keeps_its_answer(engine: Engine) -> None:
    await engine.create_drop()
    await sell(engine, bought("a"))
    await over(engine, days=91)
    await erase(engine)
    verdicts = await engine.accept(bought("a"), bought("a", fingerprint="other"), bought("new"))
    assert [verdict["outcome"] for verdict in verdicts] == ["replayed", "conflict", "closed"]


async def test_nothing_is_erased_while_something_is_undecided(engine: Engine) -> None:
    await engine.create_drop()
    await engine.accept(bought("a"))
    await sell(engine, bought("b"))
    await over(engine, days=91, state="paused")
    assert not any((await erase(engine)).values())
    await over(engine, days=91)
    assert not any((await erase(engine)).values())
    await engine.reserve(bought("a")["order_id"])
    assert await erase(engine) == {"orders": 2, "messages": 0, "drops": 1}


async def test_a_pass_is_bounded_and_the_next_goes_on(engine: Engine) -> None:
    await engine.create_drop(per_customer_limit=9, items={"M": 9})
    await sell(engine, *(bought(str(number), who=f"ann-{number}") for number in range(6)))
    await over(engine, days=91)
    counts = [await erase(engine, limit=2) for _ in range(4)]
    assert [count["orders"] for count in counts] == [2, 2, 2, 0]
    assert [count["drops"] for count in counts] == [0, 0, 1, 0]
    assert await engine.violations() == []


async def test_runs_at_once_do_no_harm(engine: Engine) -> None:
    for drop_id in ("drop", "other"):
        await engine.create_drop(drop_id, per_customer_limit=9, items={"M": 90})
        await sell(engine, *(bought(str(n), who=f"ann-{n % 7}", drop_id=drop_id) for n in range(40)))
    await over(engine, days=91)
    while await engine.count("drops WHERE erased_at IS NULL"):
        await asyncio.gather(*(erase(engine, limit=5) for _ in range(3)))
        assert await engine.violations() == []
    assert await remains(engine, PERSONAL) == set()


async def test_rejected_messages_lose_their_bodies_and_keep_their_reason(engine: Engine) -> None:
    message = {"topic": "orders", "reason": "malformed", "body": '{"customer": {"id": "ann-1"}}'}
    await engine.call("reject_messages", [{**message, "id": "old"}, {**message, "id": "new"}])
    await engine.connection.execute(
        "UPDATE rejected_messages SET rejected_at = now() - interval '91 days' WHERE id = 'old'"
    )
    assert (await erase(engine))["messages"] == 1
    rows = await engine.connection.fetch("SELECT id, reason, body <> '' FROM rejected_messages ORDER BY id")
    assert [tuple(row) for row in rows] == [("new", "malformed", True), ("old", "malformed", False)]


async def test_a_customer_is_erased_everywhere_at_once(engine: Engine) -> None:
    await engine.create_drop(per_customer_limit=2)
    await engine.create_drop("free-for-all")
    await sell(engine, bought("a"), bought("b", who="bob-2"), bought("a", drop_id="free-for-all"))
    message = {"topic": "orders", "reason": "malformed"}
    bodies = {"ann": '{"customer": {"id": "ann-1"}}', "other": '{"customer": {"id": "ann-11"}}'}
    await engine.call("reject_messages", [{**message, "id": name, "body": body} for name, body in bodies.items()])
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "ended"})
    before = await books(engine)
    assert await erase_customer(engine, shipped=True) == {"erased": 2, "messages": 1}
    await engine.connection.execute("DELETE FROM rejected_messages WHERE id = 'other'")
    assert await remains(engine, PERSONAL[:3]) == set()
    assert await remains(engine, OTHERS) == set(OTHERS)
    assert (await books(engine), await engine.violations()) == (before, [])
    assert await engine.count("(SELECT DISTINCT customer_id FROM orders WHERE customer_id <> 'bob-2') c") == 2
    assert await erase_customer(engine, shipped=True) == {}
    assert [v["outcome"] for v in await engine.accept(bought("a"))] == ["replayed"]


async def test_what_an_order_needs_stays_until_it_does_not(engine: Engine) -> None:
    await engine.create_drop(items={"M": 1})
    won, lost, waits = (bought(key) for key in ("won", "lost", "waits"))
    await engine.accept(won, lost, waits)
    await engine.reserve(won["order_id"], lost["order_id"])
    assert await erase_customer(engine, shipped=True) == {"open": 1, "reduced": 2}
    request = "SELECT request->>'shipping' IS NOT NULL FROM orders WHERE idempotency_key = $1"
    assert [await engine.connection.fetchval(request, key) for key in ("won", "lost", "waits")] == [False, False, True]
    await engine.reserve(waits["order_id"])
    assert await erase_customer(engine) == {"unshipped": 1, "reduced": 2}
    assert await erase_customer(engine, shipped=True) == {"erased": 3}
    assert await remains(engine, PERSONAL) == set()


async def test_an_address_that_a_parcel_needs_stays(engine: Engine) -> None:
    await engine.create_drop()
    await sell(engine, bought("won"))
    assert await erase_customer(engine) == {"unshipped": 1}
    assert await remains(engine, PERSONAL) == set(PERSONAL)


async def test_a_limit_does_not_start_anew_while_the_drop_lasts(engine: Engine) -> None:
    await engine.create_drop(per_customer_limit=1)
    await sell(engine, bought("a"))
    assert await erase_customer(engine, shipped=True) == {"reduced": 1}
    assert await remains(engine, PERSONAL) == {"ann-1"}
    more = bought("more")
    await engine.accept(more)
    assert await engine.reserve(more["order_id"]) == {more["order_id"]: "rejected"}
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "ended"})
    assert await erase_customer(engine, shipped=True) == {"erased": 2}
    assert await engine.violations() == []


@pytest.mark.parametrize("first", ["reserve", "erase"])
async def test_erasing_and_deciding_wait_for_each_other(engine: Engine, first: str) -> None:
    """Both ways round: the one that comes second sees what the first did, and limits still equal orders."""
    await engine.create_drop(per_customer_limit=5)
    await sell(engine, bought("before"))
    await engine.accept(bought("a"))
    other = await asyncpg.connect(engine.url)
    rival = Engine(other, engine.url)
    calls = {
        "reserve": ("reserve_orders", [{"order_id": bought("a")["order_id"]}]),
        "erase": ("erase_customer", {"customer_id": "ann-1", "shipped": True}),
    }
    second = "erase" if first == "reserve" else "reserve"
    async with engine.connection.transaction():
        await engine.call(*calls[first])
        waiting = asyncio.create_task(rival.call(*calls[second]))
        await awaited(lambda: engine.count(WAITS))
    await waiting
    await other.close()
    assert await engine.violations() == []
    assert await engine.count("orders WHERE status = 'confirmed'") == 2
