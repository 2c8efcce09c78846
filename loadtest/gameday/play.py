"""One game day: the crowd, the faults, the settling, and the records of it all."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from psycopg.rows import dict_row

from loadtest.gameday.buyers import Plan
from loadtest.gameday.checker.collect import collect
from loadtest.gameday.checker.records import Records
from loadtest.gameday.crowd import ACCEPTED, Crowd
from loadtest.gameday.diary import Diary
from loadtest.gameday.saboteur import Done, Saboteur
from loadtest.gameday.schedule import SCHEDULER, Schedule
from loadtest.gameday.stage import Stage
from loadtest.gameday.subscriber import Subscriber

# A claim whose taker was killed runs out after a minute, a doubtful payment is looked up within another one, a hold
# lasts for 20 seconds, and what that leaves has to be paced.
SETTLE_SECONDS = 180.0
RECONCILE_PAUSE_SECONDS = 4.0  # a minute is long when holds are short
RECONCILE_SECONDS = 60.0
LOOK_SECONDS = 1.0
SQL_SECONDS = 5
HTTP_SECONDS = 5.0

# What still has to move; nothing in a system that has settled.
_UNSETTLED = """
    SELECT (SELECT count(*) FROM orders WHERE status IN ('accepted', 'reserved', 'action_required')) AS orders,
           (SELECT count(*) FROM payments WHERE due_at IS NOT NULL) AS payments,
           (SELECT count(*) FROM refunds WHERE due_at IS NOT NULL) AS refunds,
           (SELECT count(*) FROM events) AS events
"""


@dataclass(frozen=True)
class Played:
    """What a game day leaves to be judged; times are seconds of its own clock."""

    records: Records
    faults: list[Done]
    epoch: float  # when its clock was at 0
    crowd_seconds: float  # when the faults had stopped
    settled_seconds: float | None  # how long after that everything was still; None: it never was
    missing: str  # parts that did not come back when the faults stopped


async def play(
    stage: Stage,
    plan: Plan,
    schedule: Schedule,
    diary_path: Path,
    seconds: float,
    tell: Callable[[str], None],
    settle_seconds: float = SETTLE_SECONDS,
) -> Played:
    """Let the crowd and the faults loose, wait until all is settled, and collect the records.

    `tell` is told how it goes, about once a second.
    """
    stack = stage.stack()
    subscriber = Subscriber(stack["pubsub_emulator_host"])
    await asyncio.to_thread(stage.put_on_sale, plan)
    diary = Diary(diary_path)
    crowd, saboteur = Crowd(stack["checkout_url"], stack["stripe_url"], diary), Saboteur(stage, diary)

    def say(what: str) -> None:
        done = f"{crowd.done} of {len(plan.buyers)} buyers are done, {len(diary.answers)} answers"
        tell(f"{diary.now():4.0f} s  {done}; {what}")

    scheduler = asyncio.create_task(_reconcile_often(stack["reconcile_url"], stage))
    buying = asyncio.create_task(crowd.run(plan.buyers))
    breaking = asyncio.create_task(_break(saboteur, schedule, diary, seconds))
    try:
        while not breaking.done():
            say(f"{len(saboteur.done)} of {len(schedule.faults)} faults")
            await asyncio.wait({breaking}, timeout=LOOK_SECONDS)
        missing, stopped = await breaking, diary.now()
        crowd.deadline = stopped + settle_seconds
        while (waiting := await _unsettled(stack, subscriber, buying)) and diary.now() < crowd.deadline:
            say(f"settling: {waiting}")
            await asyncio.sleep(LOOK_SECONDS)
        settled_seconds = None if waiting else diary.now() - stopped
        await buying
        await crowd.look_once_more({a.order_id: a.key for a in diary.answers if a.order_id and a.http == ACCEPTED})
    finally:
        for task in (scheduler, buying, breaking):
            task.cancel()
        await asyncio.gather(scheduler, buying, breaking, return_exceptions=True)
        await crowd.close()
        subscriber.stop()
        diary.close()
    known = Records(
        sales=plan.sales,
        wanted={buyer.key: {line["sku"]: line["quantity"] for line in buyer.body["items"]} for buyer in plan.buyers},
        answers=diary.answers,
        delivered=subscriber.delivered,
    )
    records = await asyncio.to_thread(collect, known, stack["database_url"], stack["stripe_url"])
    return Played(records, saboteur.done, diary.epoch, stopped, settled_seconds, missing)


async def _break(saboteur: Saboteur, schedule: Schedule, diary: Diary, seconds: float) -> str:
    await saboteur.run(schedule.faults)
    await asyncio.sleep(max(0.0, seconds - diary.now()))
    return await saboteur.heal()


async def _reconcile_often(url: str, stage: Stage) -> None:
    """Call reconcile as a scheduler would whose minutes are shorter; none while the scheduler is away."""
    timeout = aiohttp.ClientTimeout(total=RECONCILE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        while True:
            if not stage.data_dir.is_stopped(SCHEDULER):
                with suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with http.post(url) as answer:
                        await answer.read()
            await asyncio.sleep(RECONCILE_PAUSE_SECONDS)


async def _unsettled(stack: dict[str, Any], subscriber: Subscriber, buying: asyncio.Task[None]) -> str:
    """What still moves, in words; nothing when all is still."""
    try:
        written = await asyncio.to_thread(_written, stack["database_url"])
        webhooks = await asyncio.to_thread(_webhooks, stack["stripe_url"])
    except (psycopg.Error, OSError, ValueError) as error:
        return f"no answer ({type(error).__name__})"
    events = written.pop("events") - subscriber.distinct
    left = {**written, "events": events, "webhooks": webhooks, "crowds": int(not buying.done())}
    return ", ".join(f"{number} {name}" for name, number in left.items() if number)


def _written(database_url: str) -> dict[str, int]:
    with psycopg.connect(database_url, connect_timeout=SQL_SECONDS, row_factory=dict_row) as connection:
        return connection.execute(_UNSETTLED).fetchone() or {}


def _webhooks(stripe_url: str) -> int:
    with urllib.request.urlopen(f"{stripe_url}/_control/health", timeout=HTTP_SECONDS) as answer:
        return int(json.load(answer)["waiting_events"])
