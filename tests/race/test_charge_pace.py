"""Two claimers at once never charge faster than the pace, and in the order in which units were reserved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import asyncpg

from tests.conftest import Engine, order
from tests.race.test_reserve_race import connections, rewrite

PAYMENTS = 200
PACE, BURST = 200.0, 4
CLAIM = {"limit": 40, "pace": PACE, "burst": BURST, "lease_seconds": 3600}
RACE_SECONDS = 60
CLAIM_PAYMENTS = "SELECT claim_payments($1::jsonb)"
IS_BLOCKED = "SELECT cardinality(pg_blocking_pids($1)) > 0"
PACE_LOCK = r"WHERE provider = 'stripe' FOR NO KEY UPDATE;"
NO_PACE_LOCK = "WHERE provider = 'stripe';"
SLOW = {**CLAIM, "pace": 0.01}  # so slow that no machine is: after a burst nothing more comes for minutes


async def reserve(engine: Engine) -> list[str]:
    """Orders to be paid for, as their units were reserved."""
    await engine.create_drop(price=3500, items={"M": PAYMENTS})
    wanted = [order(f"{n}", payable=True, request={"payment_method": "pm_card_visa"}) for n in range(PAYMENTS)]
    await engine.accept(*wanted)
    ids = sorted(entry["order_id"] for entry in wanted)  # another order than that in which they were accepted
    for order_id in ids:
        await engine.reserve(order_id)
    return ids


async def claim_all(engine: Engine) -> list[list[str]]:
    """Two claimers take all there is; their claims, oldest first."""
    claims: list[list[str]] = []

    async def claimer(connection: asyncpg.Connection[Any]) -> None:
        found: dict[str, Any] = {"more": True}
        while found["more"]:
            found = json.loads(await connection.fetchval(CLAIM_PAYMENTS, json.dumps(CLAIM)))
            if found["claimed"]:
                claims.append([payment["order_id"] for payment in found["claimed"]])

    async with connections(engine.url, 2) as opened, asyncio.timeout(RACE_SECONDS):
        await asyncio.gather(*(claimer(connection) for connection in opened))
    at = await claimed_at(engine)
    return sorted(claims, key=lambda claim: min(at[one] for one in claim))


async def claimed_at(engine: Engine) -> dict[str, float]:
    """When each payment was claimed, in seconds by the database's clock."""
    rows = await engine.connection.fetch("SELECT order_id::text, extract(epoch FROM updated_at) AS at FROM payments")
    return {row["order_id"]: float(row["at"]) for row in rows}


def over_the_pace(times: Sequence[float]) -> int:
    """By how many the busiest stretch of time is above what the pace allows."""
    return max(int(j - i + 1 - BURST - PACE * (times[j] - times[i])) for i, j in combinations(range(len(times)), 2))


async def claim_while_another_claims(engine: Engine) -> int:
    """Claim when another claimer has not committed yet, and once more afterwards; how many all three got."""
    await engine.connection.execute("UPDATE payment_pace SET at = now() - interval '1 day'")
    async with connections(engine.url, 2) as (first, second), asyncio.timeout(RACE_SECONDS):
        async with first.transaction():
            await first.fetchval(CLAIM_PAYMENTS, json.dumps(SLOW))
            waiting = asyncio.create_task(second.fetchval(CLAIM_PAYMENTS, json.dumps(SLOW)))
            pid = second.get_server_pid()
            while not await engine.connection.fetchval(IS_BLOCKED, pid):  # noqa: ASYNC110 (nothing could signal)
                await asyncio.sleep(0)
        await waiting
        await second.fetchval(CLAIM_PAYMENTS, json.dumps(SLOW))
    return await engine.count("payments WHERE attempt > 0")


async def test_control_without_the_lock_a_claimer_forgets_what_another_took(engine: Engine) -> None:
    await rewrite(engine, "claim_payments", (PACE_LOCK, NO_PACE_LOCK))
    await reserve(engine)
    assert await claim_while_another_claims(engine) == 2 * BURST


async def test_a_claimer_waits_for_what_another_takes(engine: Engine) -> None:
    await reserve(engine)
    assert await claim_while_another_claims(engine) == BURST


async def test_two_claimers_keep_the_pace_and_the_order(engine: Engine) -> None:
    reserved = await reserve(engine)
    claims = await claim_all(engine)
    assert [order_id for claim in claims for order_id in claim] == reserved
    assert max(len(claim) for claim in claims) <= BURST
    assert over_the_pace(sorted((await claimed_at(engine)).values())) <= 0
