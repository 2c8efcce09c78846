"""Every SQL function that anybody may call has one typed counterpart, and answers all of it and nothing else.

A new function needs an entry in CONTRACTS, and one in CALLS: the calls that bring about every answer in its type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from cli.drop_file import check_drop
from common.contracts import CONTRACTS
from tests.conftest import Engine, order
from tests.typed import Mark, marks, seen

CALLABLE = (
    "SELECT proname::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND EXISTS"
    " (SELECT 1 FROM pg_roles r WHERE NOT rolsuper AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))"
)
LEASE = {"limit": 9, "lease_seconds": 60}
PAID: dict[str, Any] = {"payable": True, "request": {"payment_method": "pm_card_visa"}}


class Caller:
    """Calls SQL functions, holds both sides against their types, and keeps what the answers held."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.answered: set[Mark] = set()

    async def __call__(self, function: str, argument: Any) -> Any:
        list(seen(argument, CONTRACTS[function].takes, f"to {function}"))
        answer = await self.engine.call(function, argument)
        self.answered |= set(seen(answer, CONTRACTS[function].returns, function))
        return answer

    async def drop(self, drop_id: str = "drop", *, stock: int = 9, price: int = 0, **fields: Any) -> None:
        items = [{"sku": "M", "stock": stock, "unit_price_minor": price}]
        await self("create_drop", {"id": drop_id, "currency": "USD", "items": items, **fields})

    async def accept(self, *wanted: dict[str, Any]) -> None:
        await self("accept_orders", list(wanted))

    async def reserve(self, *keys: str) -> None:
        await self("reserve_orders", [{"order_id": order(key)["order_id"]} for key in keys])


async def accept_orders(call: Caller) -> None:
    await call.drop()
    await call.drop("paid", price=5)
    await call.drop("empty", stock=0)
    await call.drop("early", starts_at="2999-01-01T00:00:00Z")
    await call.drop("over", state="ended")
    await call.drop("paused", state="paused")
    await call.accept(order("a"), order("a"), order("a", fingerprint="other"), order("b", {"NONE": 1}))
    await call.accept(*(order("c", drop_id=drop_id) for drop_id in ("nowhere", "early", "over", "paused", "empty")))
    expected = {"payment_method": "pm_card_visa", "expected_amount_minor": 4}
    await call.accept(order("d", drop_id="paid", payable=True), order("e", drop_id="paid"))
    await call.accept(order("f", drop_id="paid", payable=True, request=expected))


async def mark_unpublished(call: Caller) -> None:
    await call.drop()
    await call.accept(order("a"))
    references = [{"order_id": order(key)["order_id"]} for key in ("a", "unknown")]
    assert await call("mark_unpublished", references) == {"marked": 1}


async def admit_orders(call: Caller) -> None:
    await call.drop()
    queued = {name: value for name, value in order("a").items() if name != "payable"}
    queued |= {"amount_minor": 0, "published_at": datetime.now(UTC).isoformat()}
    other = {**queued, "order_id": order("b")["order_id"]}
    await call("admit_orders", [queued])
    await call("admit_orders", [queued, other, {**other, "drop_id": "nowhere"}])


async def reserve_orders(call: Caller) -> None:
    await call.drop(stock=3, per_customer_limit=2)
    await call.accept(order("won"), order("too many", {"M": 3}), order("gone"), order("stays"))
    await call.accept(order("two", {"M": 2}), order("two late", {"M": 2}))
    await call("release_orders", [{"order_id": order("gone")["order_id"], "reason": "operator"}])
    await call.reserve("won", "too many", "two", "two late", "gone", "unknown")
    await call("set_drop_state", {"drop_id": "drop", "state": "paused"})
    await call.reserve("stays")
    await call("reserve_orders", [{"order_id": one} for one in await in_every_state(call)])


async def release_orders(call: Caller) -> None:
    await call.drop(stock=2, per_customer_limit=2)
    await call.accept(order("won"), order("waits"), order("limit", {"M": 3}), order("out", {"M": 2}))
    await call.reserve("won", "limit", "out")
    keys = ("won", "waits", "limit", "out", "unknown")
    ids = await in_every_state(call)
    await call("release_orders", [{"order_id": one, "reason": "operator"} for one in ids])
    await call("release_orders", [{"order_id": order(key)["order_id"], "reason": "buyer_cancelled"} for key in keys])


async def paid(call: Caller, *keys: str, stock: int = 9) -> list[str]:
    """Orders above 0 that are reserved and due to be charged, on a drop of their own."""
    await call.drop("paid", price=5, stock=stock, hold_seconds=1)
    wanted = [order(key, drop_id="paid", **PAID) for key in keys]
    await call.accept(*wanted)
    await call("reserve_orders", [{"order_id": one["order_id"]} for one in wanted])
    return [one["order_id"] for one in wanted]


async def in_every_state(call: Caller) -> list[str]:
    """Paid orders that wait for their buyers, were declined, ran out of time, and were refunded."""
    waits, declined, expired, refunded = ids = await paid(call, "1", "2", "3", "4")
    await claim(call)
    await call("settle_payments", [{"order_id": one, "outcome": "created", "provider_ref": f"pi-{one}"} for one in ids])
    await call.engine.connection.execute("UPDATE orders SET hold_expires_at = now() WHERE id = $1", expired)
    await call("expire_holds", {"limit": 9})
    outcomes: dict[str, dict[str, Any]] = {
        waits: {"outcome": "action_required", "client_secret": "secret", "retry_seconds": 9.0},
        declined: {"outcome": "declined", "reason": "card_declined"},
        expired: {"outcome": "cancelled"},
        refunded: {"outcome": "captured", "captured_minor": 5},
    }
    facts = [{"order_id": one, "provider_ref": f"pi-{one}", **fields} for one, fields in outcomes.items()]
    await call("settle_payments", facts)
    refund_id = str(uuid4())
    await call("request_refund", {"refund_id": refund_id, "order_id": refunded})
    await call("settle_refunds", [{"refund_id": refund_id, "outcome": "succeeded", "provider_ref": "re"}])
    return ids


async def claim(call: Caller, **fields: Any) -> list[dict[str, Any]]:
    await call.engine.connection.execute("UPDATE payment_pace SET at = now() - interval '1 hour'")
    bounds = {"limit": 9, "pace": 20.0, "burst": 9, "lease_seconds": 60, **fields}
    return list((await call("claim_payments", bounds))["claimed"])


async def captured(call: Caller, *keys: str) -> list[str]:
    """Orders that are paid for."""
    ids = await paid(call, *keys)
    await claim(call)
    await call("settle_payments", [{"order_id": one, "outcome": "created", "provider_ref": f"pi-{one}"} for one in ids])
    facts = [{"order_id": one, "outcome": "captured", "provider_ref": f"pi-{one}", "captured_minor": 5} for one in ids]
    await call("settle_payments", facts)
    return ids


async def claim_payments(call: Caller) -> None:
    one, other = await paid(call, "a", "b")
    assert [found["order_id"] for found in await claim(call, limit=1)] == [one]
    assert [found["order_id"] for found in await claim(call, only_started=True)] == []
    assert [found["order_id"] for found in await claim(call)] == [other]
    created = {"order_id": one, "outcome": "created", "provider_ref": "pi"}
    action = {"order_id": one, "provider_ref": "pi", "client_secret": "s", "retry_seconds": 9.0}
    await call("settle_payments", [created, {**action, "outcome": "action_required"}])
    for reason in ("operator", "buyer_cancelled"):
        await call("release_orders", [{"order_id": one, "reason": reason}])
    await claim(call, order_ids=[one])
    await call.engine.connection.execute("UPDATE orders SET hold_expires_at = now() WHERE id = $1", other)
    await call("expire_holds", {"limit": 9})
    assert {found["ending"] for found in await claim(call)} == {"hold_expired"}
    third = (await paid_more(call, "c"))[0]
    await claim(call)
    await call("release_orders", [{"order_id": third, "reason": "buyer_cancelled"}])
    await claim(call)


async def paid_more(call: Caller, *keys: str) -> list[str]:
    wanted = [order(key, drop_id="paid", **PAID) for key in keys]
    await call.accept(*wanted)
    await call("reserve_orders", [{"order_id": one["order_id"]} for one in wanted])
    return [one["order_id"] for one in wanted]


async def settle_payments(call: Caller) -> None:
    a, b, c, d, e = await paid(call, "a", "b", "c", "d", "e")
    await claim(call)
    for one in (a, b, c, d):
        await call("settle_payments", [{"order_id": one, "outcome": "created", "provider_ref": f"pi-{one}"}])
    doubt = {"order_id": a, "outcome": "in_doubt", "attempt": 1, "retry_seconds": 9.0, "error": "silence"}
    fact = {"order_id": a, "outcome": "captured", "provider_ref": f"pi-{a}", "captured_minor": 5}
    await call("settle_payments", [doubt, {**fact, "captured_minor": 4}, {**fact, "provider_ref": "pi-other"}, fact])
    secret = {"client_secret": "secret", "retry_seconds": 9.0}
    await call("settle_payments", [{"order_id": b, "outcome": "action_required", "provider_ref": f"pi-{b}", **secret}])
    await call("settle_payments", [{"order_id": c, "outcome": "cancelled", "provider_ref": f"pi-{c}"}])
    declined = {"order_id": d, "outcome": "declined", "provider_ref": f"pi-{d}", "reason": "insufficient_funds"}
    await call("settle_payments", [declined, {**fact, "order_id": d, "provider_ref": f"pi-{d}"}])
    await call("release_orders", [{"order_id": e, "reason": "operator"}])
    await call("settle_payments", [{"order_id": e, "outcome": "cancelled", "provider_ref": None}])
    await call("settle_payments", [{"order_id": e, "outcome": "created", "provider_ref": "pi-late"}])
    await call.engine.connection.execute("UPDATE orders SET hold_expires_at = now() WHERE id = $1", b)
    await call("expire_holds", {"limit": 9})
    await call("settle_payments", [{"order_id": b, "outcome": "cancelled", "provider_ref": f"pi-{b}"}])
    (refund,) = await call("claim_refunds", {"limit": 9, "lease_seconds": 60})
    done = {"refund_id": refund["refund_id"], "outcome": "succeeded", "provider_ref": "re"}
    await call("settle_refunds", [done])
    await call("settle_payments", [{**fact, "order_id": d, "provider_ref": f"pi-{d}"}])


async def expire_holds(call: Caller) -> None:
    await paid(call, "a")
    await claim(call)
    assert await call("expire_holds", {"limit": 9}) == {"expired": 0}
    await call.engine.connection.execute("UPDATE orders SET hold_expires_at = now()")
    assert [await call("expire_holds", {"limit": 9}) for _ in range(2)] == [{"expired": 1}, {"expired": 0}]


async def request_refund(call: Caller) -> None:
    (one,) = await captured(call, "a")
    (free,) = await paid_more(call, "b")
    asked = {"refund_id": str(uuid4()), "order_id": one, "amount_minor": 2}
    for wanted in (
        {**asked, "amount_minor": 6},
        {**asked, "restock": True},
        asked,
        asked,
        {**asked, "amount_minor": 1},
        {"refund_id": str(uuid4()), "order_id": one, "amount_minor": None, "restock": True},
        {"refund_id": str(uuid4()), "order_id": one},
        {"refund_id": str(uuid4()), "order_id": free},
        {"refund_id": str(uuid4()), "order_id": str(uuid4())},
    ):
        await call("request_refund", wanted)


async def claim_refunds(call: Caller) -> None:
    (one,) = await captured(call, "a")
    await call("request_refund", {"refund_id": str(uuid4()), "order_id": one, "amount_minor": 2})
    refund_id = str(uuid4())
    await call("request_refund", {"refund_id": refund_id, "order_id": one})
    assert [r["refund_id"] for r in await call("claim_refunds", {**LEASE, "refund_ids": [refund_id]})] == [refund_id]
    assert len(await call("claim_refunds", LEASE)) == 1
    assert await call("claim_refunds", LEASE) == []


async def settle_refunds(call: Caller) -> None:
    (one,) = await captured(call, "a")
    ids = [str(uuid4()) for _ in range(4)]
    for refund_id in ids:
        await call("request_refund", {"refund_id": refund_id, "order_id": one, "amount_minor": 1})
    await call("claim_refunds", {**LEASE, "refund_ids": ids[1:]})
    again = {"attempt": 1, "retry_seconds": 9.0, "error": "silence"}
    await call(
        "settle_refunds",
        [
            {"refund_id": ids[0], "outcome": "in_doubt", "attempt": 0, "retry_seconds": 9.0, "error": "silence"},
            {"refund_id": ids[1], "outcome": "unmade", **again},
            {"refund_id": ids[2], "outcome": "succeeded", "provider_ref": "re"},
            {"refund_id": ids[3], "outcome": "failed", "error": "refused"},
            {"refund_id": str(uuid4()), "outcome": "in_doubt", **again},
        ],
    )


async def reject_messages(call: Caller) -> None:
    message = {"id": "1", "topic": "orders", "reason": "malformed", "body": "{"}
    assert [await call("reject_messages", [message]) for _ in range(2)] == [{"recorded": 1}, {"recorded": 0}]


async def claim_waiting_orders(call: Caller) -> None:
    await call.drop()
    await call.accept(order("a"))
    await call("claim_waiting_orders", {"limit": 9, "after_seconds": 0, "pause_seconds_max": 9})


async def create_drop(call: Caller) -> None:
    for state in ("draft", "live", "paused", "ended", "ended"):
        await call.drop(state, state=state)
    items = [{"sku": "M", "title": "Medium", "stock": 1, "unit_price_minor": 3500}]
    wanted = {"id": "whole", "name": "All of it", "per_customer_limit": 2, "hold_seconds": 60, "items": items}
    spec = check_drop({**wanted, "starts_at": "2030-01-01T00:00:00Z", "ends_at": "2031-01-01T00:00:00Z"})
    drop = (await call("create_drop", spec.wanted()))["drop"]
    assert (drop["name"], drop["starts_at"], drop["hold_seconds"]) == ("All of it", "2030-01-01T00:00:00+00:00", 60)


async def set_drop_state(call: Caller) -> None:
    await call.drop(state="draft")
    for state in ("paused", "live", "live", "paused", "ended", "live"):
        await call("set_drop_state", {"drop_id": "drop", "state": state})
    await call("set_drop_state", {"drop_id": "nowhere", "state": "live", "from_states": ["draft"]})


async def restock_item(call: Caller) -> None:
    await call.drop()
    for drop_id, sku in (("drop", "M"), ("drop", "M"), ("drop", "NONE"), ("nowhere", "M")):
        await call("restock_item", {"drop_id": drop_id, "sku": sku, "quantity": 5, "ref": "delivery-1"})


async def close_drops(call: Caller) -> None:
    await call.drop(starts_at="2020-01-01T00:00:00Z", ends_at="2020-01-02T00:00:00Z")
    assert [await call("close_drops", {"limit": 9}) for _ in range(2)] == [{"closed": 1}, {"closed": 0}]


async def claim_audit(call: Caller) -> None:
    await call.drop()
    bounds = {"pause_seconds": 60.0, "seal_after_seconds": 0.0}
    assert (await call("claim_audit", bounds))["drop"]["drop_id"] == "drop"
    assert await call("claim_audit", bounds) == {"drop": None}


async def record_audit(call: Caller) -> None:
    for state in ("live", "ended"):
        await call.drop(state, state=state)
    for is_sound in (True, False):
        for _ in range(2):
            await call.engine.connection.execute("UPDATE drops SET ends_at = now() WHERE state = 'ended'")
            claimed = (await call("claim_audit", {"pause_seconds": 0.0, "seal_after_seconds": 0.0}))["drop"]
            await call("record_audit", {**claimed, "is_sound": is_sound})
    await call("record_audit", {**claimed, "audited_at": "2020-01-01T00:00:00Z", "is_sound": False})


async def accept_violations(call: Caller) -> None:
    await call.drop()
    await call.engine.connection.execute("UPDATE items SET sold = 1")
    wanted = {"drop_id": "drop", "reason": "counted by hand", "os_user": "ann"}
    assert [await call("accept_violations", wanted) for _ in range(2)] == [{"accepted": 1}, {"accepted": 0}]


async def erase_personal_data(call: Caller) -> None:
    await call.drop(starts_at="2020-01-01T00:00:00Z", ends_at="2020-01-02T00:00:00Z", state="ended")
    assert (await call("erase_personal_data", {"limit": 9, "retention_days": 1}))["drops"] == 1


async def erase_customer(call: Caller) -> None:
    await call.drop()
    await call.accept(order("a", customer="c-1"))
    for shipped in (True, False):
        await call("erase_customer", {"customer_id": "c-1", "shipped": shipped})
    await call("erase_customer", {"customer_id": "nobody"})


async def report_drop(call: Caller) -> None:
    for state in ("draft", "paused", "ended"):
        await call.drop(state, state=state)
        await call("report_drop", {"drop_id": state})
    await captured(call, "a")
    await call.drop(stock=1)
    await call.accept(order("out", {"M": 2}), order("won"))
    await call.reserve("out", "won")
    await call.engine.connection.execute("UPDATE drops SET sealed_at = now()")
    for drop_id in ("paid", "drop", "nowhere"):
        await call("report_drop", {"drop_id": drop_id})
    await call.accept(order("many", {"M": 10}, drop_id="paid", **PAID))
    await call("reserve_orders", [{"order_id": order("many", drop_id="paid")["order_id"]}])
    await call.drop("limited", per_customer_limit=1)
    await call.accept(order("over", {"M": 2}, drop_id="limited"))
    await call("reserve_orders", [{"order_id": order("over", drop_id="limited")["order_id"]}])
    await call("report_drop", {"drop_id": "limited"})


async def claim_events(call: Caller) -> None:
    await in_every_state(call)
    (cancelled,) = await paid_more(call, "cancelled")
    await call("release_orders", [{"order_id": cancelled, "reason": "operator"}])
    await call.drop(stock=1, per_customer_limit=2)
    await call.accept(order("won"), order("out"), order("too many", {"M": 3}))
    await call.reserve("won", "out", "too many")
    await paid_more(call, "claimed", "due")
    await claim(call, limit=1)
    bounds = {"limit": 99, "lease_seconds": 60}
    events = await call("claim_events", bounds)
    assert len(events) == await call.engine.count("events")
    assert await call("claim_events", bounds) == []


async def mark_events_published(call: Caller) -> None:
    await call.drop()
    await call.accept(order("a"), order("b"))
    ids = [order(key)["order_id"] for key in ("a", "b", "unknown")]
    bounds = {"limit": 9, "lease_seconds": 60}
    await call("claim_events", bounds)
    told = [{"order_id": one, "seq": seq} for one, seq in zip(ids, (1, 0, 1), strict=True)]
    assert await call("mark_events_published", told) == {"marked": 1}
    assert [event["order"]["order_id"] for event in await call("claim_events", bounds)] == [ids[1]]


async def rejected(call: Caller, *ids: str, body: str = "{") -> None:
    await call("reject_messages", [{"id": one, "topic": "orders", "reason": "malformed", "body": body} for one in ids])


async def retry_messages(call: Caller) -> None:
    await rejected(call, "1")
    await rejected(call, "2", body="")
    outcomes = await call("retry_messages", [{"id": one} for one in ("1", "2", "3")])
    assert [outcome["outcome"] for outcome in outcomes] == ["asked", "erased", "unknown_message"]
    assert await call.engine.count("rejected_messages WHERE retry_at IS NOT NULL") == 1


async def finish_retries(call: Caller) -> None:
    """Of four, one was not asked for, one is asked for once more, one is rejected anew, and one succeeded."""
    ids = ("unasked", "again", "anew", "done")
    await rejected(call, *ids)
    await call("retry_messages", [{"id": one} for one in ids[1:]])
    rows = await call.engine.connection.fetch("SELECT id, retry_at FROM rejected_messages WHERE retry_at IS NOT NULL")
    asked = {row["id"]: row["retry_at"].isoformat() for row in rows}
    await call("retry_messages", [{"id": "again"}])
    await rejected(call, "anew")
    tried = [{"id": one, "retry_at": asked[one]} for one in ids[1:]]
    tried.append({"id": "unasked", "retry_at": asked["done"]})
    assert await call("finish_retries", tried) == {"finished": 1}
    left = {row["id"]: row["retry_at"] for row in await call.engine.connection.fetch("TABLE rejected_messages")}
    assert sorted(left) == ["again", "anew", "unasked"]
    assert left["anew"] is None


async def drop_messages(call: Caller) -> None:
    await rejected(call, "1", "2")
    assert await call("drop_messages", [{"id": "1"}, {"id": "3"}]) == {"dropped": 1}


CALLS: dict[str, Callable[[Caller], Awaitable[None]]] = {
    "accept_orders": accept_orders,
    "mark_unpublished": mark_unpublished,
    "admit_orders": admit_orders,
    "reserve_orders": reserve_orders,
    "release_orders": release_orders,
    "claim_payments": claim_payments,
    "settle_payments": settle_payments,
    "expire_holds": expire_holds,
    "request_refund": request_refund,
    "claim_refunds": claim_refunds,
    "settle_refunds": settle_refunds,
    "reject_messages": reject_messages,
    "claim_waiting_orders": claim_waiting_orders,
    "create_drop": create_drop,
    "set_drop_state": set_drop_state,
    "restock_item": restock_item,
    "close_drops": close_drops,
    "claim_audit": claim_audit,
    "record_audit": record_audit,
    "accept_violations": accept_violations,
    "erase_personal_data": erase_personal_data,
    "erase_customer": erase_customer,
    "report_drop": report_drop,
    "claim_events": claim_events,
    "mark_events_published": mark_events_published,
    "retry_messages": retry_messages,
    "finish_retries": finish_retries,
    "drop_messages": drop_messages,
}


async def test_every_function_that_a_role_may_call_has_one_counterpart(engine: Engine) -> None:
    functions = [row["proname"] for row in await engine.connection.fetch(CALLABLE)]
    assert sorted(functions) == sorted(CONTRACTS)


@pytest.mark.parametrize("function", sorted(CONTRACTS))
async def test_a_function_answers_all_that_its_type_names_and_nothing_else(engine: Engine, function: str) -> None:
    caller = Caller(engine)
    await CALLS[function](caller)
    assert set(marks(CONTRACTS[function].returns, function)) - caller.answered == set()
