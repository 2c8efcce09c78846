"""admit_orders: an order that only the queue knows becomes a row, judged by when it was published; stored rows win."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Engine, order

OPEN = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z"}
PUBLISHED_AT = "2020-06-01T12:00:00.123456Z"  # while the drop is open, long before it is admitted


def queued(key: str, items: dict[str, int] | None = None, **fields: Any) -> dict[str, Any]:
    """An entry for admit_orders."""
    amount_minor, published_at = fields.pop("amount_minor", 0), fields.pop("published_at", PUBLISHED_AT)
    entry = {**order(key, items, **fields), "amount_minor": amount_minor, "published_at": published_at}
    del entry["payable"]
    return entry


async def admit(engine: Engine, *orders: dict[str, Any]) -> list[str]:
    answers = await engine.call("admit_orders", orders)
    assert [answer["order_id"] for answer in answers] == [one["order_id"] for one in orders]
    return [answer["outcome"] for answer in answers]


async def row(engine: Engine, key: str) -> dict[str, Any]:
    """What the books say of the order under a key."""
    found = await engine.connection.fetchrow("SELECT * FROM orders WHERE idempotency_key = $1", key)
    assert found is not None
    return dict(found)


async def events(engine: Engine, key: str) -> list[str]:
    found = await engine.connection.fetch(
        "SELECT type FROM events WHERE order_id = (SELECT id FROM orders WHERE idempotency_key = $1) ORDER BY seq", key
    )
    return [event["type"] for event in found]


async def test_it_is_accepted_when_it_was_published_and_decided_like_any_other(engine: Engine) -> None:
    await engine.create_drop(**OPEN)
    assert await admit(engine, queued("a", {"M": 2})) == ["stored"]
    stored = await row(engine, "a")
    published_at = datetime.fromisoformat(PUBLISHED_AT)
    assert (stored["status"], stored["accepted_at"], stored["published_at"]) == ("accepted", published_at, published_at)
    assert await engine.violations() == []
    assert await engine.reserve(str(stored["id"])) == {str(stored["id"]): "confirmed"}
    assert await events(engine, "a") == ["order.accepted", "order.reserved", "order.confirmed"]
    assert await engine.violations() == []


async def test_the_key_is_claimed_as_if_it_had_been_accepted(engine: Engine) -> None:
    await engine.create_drop(**OPEN)
    await admit(engine, queued("a"))
    verdicts = await engine.accept(order("a"), order("a", fingerprint="other"))
    assert [verdict["outcome"] for verdict in verdicts] == ["replayed", "conflict"]


async def test_a_queue_whose_clock_is_ahead_makes_no_order_of_the_future(engine: Engine) -> None:
    await engine.create_drop()
    ahead = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    await admit(engine, queued("a", published_at=ahead))
    assert await engine.count("orders WHERE accepted_at <= clock_timestamp()") == 1


@pytest.mark.parametrize(
    ("fields", "published_at", "status", "reason"),
    [
        ({"starts_at": "2020-06-01T12:00:00Z"}, "2020-06-01T12:00:00Z", "accepted", None),
        ({"starts_at": "2020-06-01T12:00:00Z"}, "2020-06-01T11:59:59.999Z", "rejected", "drop_closed"),
        ({**OPEN, "ends_at": "2020-06-01T12:00:00Z"}, "2020-06-01T11:59:59.999Z", "accepted", None),
        ({**OPEN, "ends_at": "2020-06-01T12:00:00Z"}, "2020-06-01T12:00:00Z", "rejected", "drop_closed"),
        ({**OPEN, "state": "draft"}, PUBLISHED_AT, "rejected", "drop_closed"),
    ],
)
async def test_the_drops_window_is_held_against_the_time_of_publishing(
    engine: Engine, fields: dict[str, Any], published_at: str, status: str, reason: str | None
) -> None:
    await engine.create_drop(**fields)
    assert await admit(engine, queued("a", published_at=published_at)) == ["stored"]
    stored = await row(engine, "a")
    assert (stored["status"], stored["reason"]) == (status, reason)
    assert await engine.violations() == []


async def test_a_drop_that_was_closed_meanwhile_serves_who_came_before(engine: Engine) -> None:
    await engine.create_drop(**OPEN)
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "ended"})
    now = await engine.connection.fetchval("SELECT clock_timestamp()")
    assert await admit(engine, queued("before"), queued("after", published_at=now.isoformat())) == ["stored"] * 2
    assert (await row(engine, "before"))["status"] == "accepted"
    assert (await row(engine, "after"))["reason"] == "drop_closed"


async def test_an_order_of_a_paused_drop_waits(engine: Engine) -> None:
    await engine.create_drop(**OPEN)
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "paused"})
    entry = queued("a")
    await admit(engine, entry)
    assert await engine.reserve(entry["order_id"]) == {entry["order_id"]: "paused"}
    await engine.call("set_drop_state", {"drop_id": "drop", "state": "live"})
    assert await engine.reserve(entry["order_id"]) == {entry["order_id"]: "confirmed"}


@pytest.mark.parametrize(
    ("items", "amount_minor", "reason"),
    [({"M": 1, "NONE": 2}, 350, "unknown_sku"), ({"M": 2}, 350, "price_changed"), ({"M": 2}, 0, "price_changed")],
)
async def test_what_cannot_be_served_is_a_rejected_row(
    engine: Engine, items: dict[str, int], amount_minor: int, reason: str
) -> None:
    await engine.create_drop(price=350, **OPEN)
    assert await admit(engine, queued("a", items, amount_minor=amount_minor)) == ["stored"]
    stored = await row(engine, "a")
    assert (stored["status"], stored["reason"]) == ("rejected", reason)
    assert await events(engine, "a") == ["order.accepted", "order.rejected"]
    assert await engine.reserve(str(stored["id"])) == {str(stored["id"]): "rejected"}
    assert await engine.violations() == []


async def test_a_stored_row_wins(engine: Engine) -> None:
    await engine.create_drop(**OPEN)
    await engine.accept(order("a", {"M": 2}))
    before = await row(engine, "a")
    other = queued("a", {"M": 1}, fingerprint="other", customer="other")
    assert await admit(engine, other, queued("a", {"NONE": 1})) == ["stored"] * 2
    assert await row(engine, "a") == before
    assert await engine.count("order_lines") == await engine.count("events") == 1


async def test_of_two_messages_under_one_id_the_first_published_is_the_order(engine: Engine) -> None:
    await engine.create_drop(**OPEN)
    late = queued("a", {"M": 1}, fingerprint="late", published_at="2020-06-01T12:00:01Z")
    early = queued("a", {"M": 2}, fingerprint="early", published_at="2020-06-01T12:00:00Z")
    assert await admit(engine, late, early, late) == ["stored"] * 3
    assert (await row(engine, "a"))["fingerprint"] == "early"
    assert await engine.violations() == []


async def test_a_key_of_another_id_and_an_unknown_drop_leave_no_row(engine: Engine) -> None:
    await engine.create_drop(**OPEN)
    await admit(engine, queued("a"))
    forged = {**queued("a"), "order_id": order("b")["order_id"]}
    outcomes = await admit(engine, forged, queued("c", drop_id="nope"), queued("d"))
    assert outcomes == ["conflict", "drop_not_found", "stored"]
    assert await engine.count("orders") == 2
    assert await engine.violations() == []


async def test_a_batch_is_decided_in_the_order_of_publishing(engine: Engine) -> None:
    await engine.create_drop(items={"M": 1}, **OPEN)
    second = queued("second", published_at="2020-06-01T12:00:01Z")
    first = queued("first", published_at="2020-06-01T12:00:00Z")
    await admit(engine, second, first)
    decided = await engine.reserve(second["order_id"], first["order_id"])
    assert decided == {first["order_id"]: "confirmed", second["order_id"]: "sold_out"}


async def test_nothing_is_admitted_of_nothing(engine: Engine) -> None:
    assert await admit(engine) == []
