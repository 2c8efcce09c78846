"""Reconcile's audit: it pauses what is broken, seals what is over, alerts, and takes a person's word for the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from common.database import Database, DatabaseUnavailable
from common.logs import logger
from common.reconcile import audit
from common.reconcile.audit import Pace
from tests.conftest import Engine, order

ONCE = Pace(pause_seconds=3600.0, seal_after_seconds=0.0)
BREAK = "UPDATE items SET sold = sold + 1 WHERE drop_id = 'drop'"
AT_ONCE = "UPDATE drops SET audited_at = '-infinity'"  # as if the pause between two audits were over


class Audit:
    """Reconcile's step on a test's database."""

    def __init__(self, url: str, statement_seconds: float = 4.0) -> None:
        self.database, self.auditor = Database(url), Database(url, statement_seconds)

    async def run(self, seconds: float = 60.0, pace: Pace = ONCE) -> dict[str, int]:
        return (await audit.run_once(self.database, self.auditor, seconds, pace)).counts

    async def close(self) -> None:
        await self.database.close()
        await self.auditor.close()


@asynccontextmanager
async def auditing(url: str, statement_seconds: float = 4.0) -> AsyncIterator[Audit]:
    one = Audit(url, statement_seconds)
    yield one
    await one.close()


@pytest.fixture
async def step(engine: Engine) -> AsyncIterator[Audit]:
    async with auditing(engine.url) as one:
        yield one


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keeper()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def alerts(logged: list[logging.LogRecord]) -> list[tuple[str, str, dict[str, Any]]]:
    """What an alert can be set on."""
    return [(r.levelname, r.getMessage(), vars(r)["labels"]) for r in logged if r.levelno >= logging.WARNING]


async def state(engine: Engine, drop_id: str = "drop") -> str:
    return str(await engine.connection.fetchval("SELECT state FROM drops WHERE id = $1", drop_id))


async def is_sealed(engine: Engine) -> bool:
    return bool(await engine.connection.fetchval("SELECT sealed_at IS NOT NULL FROM drops WHERE id = 'drop'"))


async def end(engine: Engine) -> None:
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "ended"})


async def accept_violations(engine: Engine, reason: str = "counted by hand") -> int:
    wanted = {"drop_id": "drop", "reason": reason, "os_user": "ann"}
    accepted = int((await engine.call("accept_violations", wanted))["accepted"])
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "live", "from_states": ["paused"]})
    return accepted


async def paid(engine: Engine) -> str:
    """A confirmed order that money was captured for."""
    await engine.create_drop(price=5)
    one = order("a", payable=True, request={"payment_method": "pm"})
    await engine.accept(one)
    await engine.reserve(one["order_id"])
    fact = {"order_id": one["order_id"], "provider_ref": "pi"}
    captured = {**fact, "outcome": "captured", "captured_minor": 5}
    await engine.call("settle_payments", [{**fact, "outcome": "created"}, captured])
    return str(one["order_id"])


async def test_a_broken_promise_pauses_its_drop_and_is_told(
    engine: Engine, step: Audit, logged: list[logging.LogRecord]
) -> None:
    await engine.create_drop(items={"M": 3, "L": 3})
    await engine.create_drop("other")
    await engine.connection.execute(BREAK)
    assert await step.run() == {"audited": 2, "paused": 1, "sealed": 0}
    assert (await state(engine), await state(engine, "other")) == ("paused", "live")
    told = ("ERROR", "a promise is broken", {"drop_id": "drop", "promise": 1, "violations": 2})
    assert alerts(logged) == [told]
    await engine.connection.execute(AT_ONCE)
    assert (await step.run())["paused"] == 0
    assert alerts(logged) == [told, told]


async def test_sound_books_change_nothing_and_say_nothing(
    engine: Engine, step: Audit, logged: list[logging.LogRecord]
) -> None:
    await engine.create_drop()
    assert await step.run() == {"audited": 1, "paused": 0, "sealed": 0}
    assert (await state(engine), logged) == ("live", [])
    assert (await step.run())["audited"] == 0


async def test_lateness_alerts_and_never_pauses(engine: Engine, step: Audit, logged: list[logging.LogRecord]) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    await engine.connection.execute("UPDATE orders SET accepted_at = now() - interval '1 hour'")
    await step.run()
    assert alerts(logged) == [("WARNING", "orders are late", {"drop_id": "drop", "status": "accepted", "orders": 1})]
    assert await state(engine) == "live"


async def test_orders_of_a_missing_drop_are_told(engine: Engine, step: Audit, logged: list[logging.LogRecord]) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    await engine.connection.execute("UPDATE orders SET drop_id = 'gone'")
    await step.run()
    ((severity, message, labels),) = alerts(logged)
    assert (severity, message, labels["drop_id"]) == ("ERROR", "a promise is broken", "gone")


async def test_the_least_recently_audited_drop_comes_first_and_a_pass_is_bounded(engine: Engine, step: Audit) -> None:
    for drop_id in ("second", "first"):
        await engine.create_drop(drop_id)
    await engine.connection.execute("UPDATE drops SET audited_at = now() - interval '3 hours' WHERE id = 'second'")
    outcome = await audit.run_once(step.database, step.auditor, 0.0, ONCE)
    assert (outcome.counts["audited"], outcome.again_seconds) == (0, 0)
    bounds = {"pause_seconds": 3600.0, "seal_after_seconds": 0.0}
    claimed = [(await engine.call("claim_audit", bounds))["drop"] for _ in range(3)]
    assert [drop and drop["drop_id"] for drop in claimed] == ["first", "second", None]


async def test_runs_at_once_share_the_drops_out(engine: Engine) -> None:
    for number in range(12):
        await engine.create_drop(f"drop-{number}", state="ended")
    await engine.connection.execute("UPDATE drops SET ends_at = now()")
    async with auditing(engine.url) as one, auditing(engine.url) as other:
        both = await asyncio.gather(one.run(), other.run())
    assert sum(counts["audited"] for counts in both) == 12
    assert await engine.count("drops WHERE sealed_at IS NULL") == 0


async def test_a_drop_that_is_over_is_sealed_and_not_read_again(engine: Engine, step: Audit) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    await engine.reserve(order("a")["order_id"])
    await end(engine)
    await step.run(pace=Pace(3600.0, seal_after_seconds=600.0))
    assert not await is_sealed(engine)  # a call that began before the end may still be under way
    await engine.connection.execute(AT_ONCE)
    assert await step.run() == {"audited": 1, "paused": 0, "sealed": 1}
    await engine.connection.execute(AT_ONCE)
    assert (await step.run())["audited"] == 0


async def test_a_drop_is_not_sealed_while_something_in_it_can_move(engine: Engine, step: Audit) -> None:
    one = await paid(engine)
    await engine.accept(order("b", payable=True, request={"payment_method": "pm"}))
    await end(engine)

    async def sealed() -> bool:
        await engine.connection.execute(AT_ONCE)
        await step.run()
        return await is_sealed(engine)

    assert not await sealed()  # b is not decided
    await engine.reserve(order("b")["order_id"])
    assert not await sealed()  # b is not paid
    await engine.call("release_orders", [{"order_id": order("b")["order_id"], "reason": "operator"}])
    refund_id = str(uuid4())
    await engine.call("request_refund", {"refund_id": refund_id, "order_id": one, "amount_minor": 2})
    assert not await sealed()  # money is on its way back
    done = {"refund_id": refund_id, "outcome": "succeeded", "provider_ref": "re"}
    await engine.call("settle_refunds", [done])
    assert await sealed()


async def test_what_moves_in_a_sealed_drop_is_audited(engine: Engine, step: Audit) -> None:
    one = await paid(engine)
    late = order("late", payable=True, request={"payment_method": "pm"})
    await engine.accept(late)
    await engine.reserve(late["order_id"])
    fact = {"order_id": late["order_id"], "provider_ref": "late"}
    declined = {**fact, "outcome": "declined", "reason": "card_declined"}
    await engine.call("settle_payments", [{**fact, "outcome": "created"}, declined])
    await end(engine)
    await step.run()
    assert await is_sealed(engine)
    queued = {k: v for k, v in order("queued").items() if k != "payable"}
    refund_id = str(uuid4())
    movements: tuple[tuple[str, Any], ...] = (
        ("request_refund", {"refund_id": refund_id, "order_id": one}),
        ("settle_refunds", [{"refund_id": refund_id, "outcome": "succeeded", "provider_ref": "re"}]),
        ("settle_payments", [{**fact, "outcome": "captured", "captured_minor": 5}]),
        ("restock_item", {"drop_id": "drop", "sku": "M", "quantity": 1, "ref": "found"}),
        ("admit_orders", [{**queued, "amount_minor": 5, "published_at": "2020-01-01T00:00:00Z"}]),
    )
    for function, argument in movements:
        await engine.connection.execute("UPDATE drops SET sealed_at = now(), audited_at = now(), erased_at = now()")
        await engine.call(function, argument)
        assert await engine.count("drops WHERE sealed_at IS NULL AND erased_at IS NULL") == 1, function
        assert (await step.run())["audited"] == 1, function


async def test_a_drop_that_is_over_and_broken_is_told_until_somebody_accepts_it(
    engine: Engine, step: Audit, logged: list[logging.LogRecord]
) -> None:
    await engine.create_drop()
    await engine.connection.execute(BREAK)
    await end(engine)
    for _ in range(2):
        await engine.connection.execute(AT_ONCE)
        assert (await step.run())["sealed"] == 0
    assert len(alerts(logged)) == 2
    assert await accept_violations(engine) == 1
    assert (await step.run())["sealed"] == 1
    assert (len(alerts(logged)), await state(engine)) == (2, "ended")


async def test_an_accepted_violation_does_not_pause_again_and_a_new_one_does(engine: Engine, step: Audit) -> None:
    await engine.create_drop(items={"M": 9, "L": 9})
    await engine.connection.execute(BREAK + " AND sku = 'M'")
    assert (await step.run())["paused"] == 1
    assert await accept_violations(engine) == 1
    for key in ("a", "b"):  # the sale goes on, and counters move
        await engine.accept(order(key))
        await engine.reserve(order(key)["order_id"])
        await engine.connection.execute(AT_ONCE)
        assert await step.run() == {"audited": 1, "paused": 0, "sealed": 0}
    await engine.connection.execute(BREAK + " AND sku = 'L'")
    await engine.connection.execute(AT_ONCE)
    assert (await step.run())["paused"] == 1
    assert await accept_violations(engine) == 1
    await engine.connection.execute(BREAK + " AND sku = 'M'")  # worse than what was accepted
    assert (await step.run())["paused"] == 1


async def test_who_accepted_what_is_written_down(engine: Engine) -> None:
    await engine.create_drop()
    await engine.connection.execute(BREAK)
    await accept_violations(engine, "a lost delivery")
    (row,) = await engine.connection.fetch("SELECT *, session_user AS me FROM accepted_violations")
    assert (row["drop_id"], row["promise"], row["order_id"]) == ("drop", 1, None)
    assert row["violation"].startswith("M: the counters are ahead")
    assert (row["reason"], row["os_user"], row["database_user"]) == ("a lost delivery", "ann", row["me"])
    assert row["accepted_at"] is not None


async def test_an_audit_that_was_overtaken_by_a_person_concludes_nothing(engine: Engine) -> None:
    """He accepted what it found, and resumed the drop, while it was still reading."""
    await engine.create_drop(state="paused")
    await engine.connection.execute(BREAK)
    bounds = {"pause_seconds": 0.0, "seal_after_seconds": 0.0}
    claimed = (await engine.call("claim_audit", bounds))["drop"]
    await accept_violations(engine)
    assert await engine.call("record_audit", {**claimed, "is_sound": False}) == {"outcome": "overtaken"}
    assert await state(engine) == "live"


async def test_an_audit_that_takes_too_long_is_told_and_does_not_stop_the_others(
    engine: Engine, logged: list[logging.LogRecord]
) -> None:
    for drop_id in ("drop", "other"):
        await engine.create_drop(drop_id)
    async with auditing(engine.url, statement_seconds=0.3) as step:
        async with engine.connection.transaction():
            await engine.connection.execute("LOCK TABLE accepted_violations")  # nobody else can read the view
            with pytest.raises(DatabaseUnavailable):
                await step.run()
        stuck = [labels["drop_id"] for _, told, labels in alerts(logged) if told == "a drop can't be audited"]
        assert sorted(stuck) == ["drop", "other"]
        assert await state(engine) == "live"


async def test_a_database_allows_its_statements_as_long_as_it_is_told(engine: Engine) -> None:
    async with auditing(engine.url, statement_seconds=30.0) as step:
        told = [(await one.read("SHOW statement_timeout"))[0][0] for one in (step.database, step.auditor)]
    assert told == ["4s", "30s"]
