"""Reconcile ends drops whose time is over, and what they accepted is still decided."""

from __future__ import annotations

import asyncio

import pytest

from common.database import Database
from common.reconcile import close_drops
from tests.conftest import Engine, order

OVER = "UPDATE drops SET starts_at = now() - interval '2 days', ends_at = now() - interval '1 second'"


async def close(engine: Engine, limit: int = 100) -> int:
    database = Database(engine.url)
    try:
        return (await close_drops.run_once(database, limit)).counts["closed"]
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("before", "after"), [("live", "ended"), ("paused", "paused"), ("draft", "draft"), ("ended", "ended")]
)
async def test_a_live_drop_that_is_over_ends_and_a_person_decides_on_others(
    engine: Engine, before: str, after: str
) -> None:
    await engine.create_drop(state=before)
    await engine.connection.execute(OVER)
    assert await close(engine) == (before != after)
    assert await engine.connection.fetchval("SELECT state FROM drops") == after


async def test_a_drop_whose_time_has_not_come_stays_live(engine: Engine) -> None:
    await engine.create_drop()
    assert await close(engine) == 0
    assert await engine.connection.fetchval("SELECT state FROM drops") == "live"


async def test_accepted_orders_of_an_ended_drop_are_published_again_and_decided(engine: Engine) -> None:
    await engine.create_drop(items={"M": 1})
    await engine.accept(order("a"), order("b"))
    await engine.connection.execute(OVER)
    assert await close(engine) == 1
    bounds = {"limit": 9, "after_seconds": 0, "pause_seconds_max": 9}
    waiting = [message["order_id"] for message in await engine.call("claim_waiting_orders", bounds)]
    assert sorted(waiting) == sorted(order(key)["order_id"] for key in ("a", "b"))
    assert sorted((await engine.reserve(*waiting)).values()) == ["confirmed", "sold_out"]
    assert await engine.violations() == []
    (replay,) = await engine.accept(order("a"))
    assert replay["outcome"] == "replayed"


async def test_runs_at_once_share_the_drops_out_and_each_is_bounded(engine: Engine) -> None:
    for number in range(8):
        await engine.create_drop(f"drop-{number}")
    await engine.connection.execute(OVER)
    assert await close(engine, limit=2) == 2
    assert sum(await asyncio.gather(*(close(engine) for _ in range(3)))) == 6
    assert await engine.count("drops WHERE state = 'ended'") == 8
