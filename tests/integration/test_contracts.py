"""Every SQL function that anybody may call has one typed counterpart, and answers all of it and nothing else.

A new function needs an entry in CONTRACTS, and one in CALLS: the calls that bring about every answer in its type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.drop_file import check_drop
from common.contracts import CONTRACTS
from tests.conftest import Engine, order
from tests.typed import Mark, marks, seen

CALLABLE = (
    "SELECT proname::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND EXISTS"
    " (SELECT 1 FROM pg_roles r WHERE NOT rolsuper AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))"
)
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
    await call.drop("paid", price=5)
    await call.accept(order("held", drop_id="paid", **PAID))
    await call("reserve_orders", [{"order_id": order("held", drop_id="paid")["order_id"]}])


async def release_orders(call: Caller) -> None:
    await call.drop(stock=2, per_customer_limit=2)
    await call.accept(order("won"), order("waits"), order("limit", {"M": 3}), order("out", {"M": 2}))
    await call.reserve("won", "limit", "out")
    keys = ("won", "waits", "limit", "out", "unknown")
    await call("release_orders", [{"order_id": order(key)["order_id"], "reason": "buyer_cancelled"} for key in keys])


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


CALLS: dict[str, Callable[[Caller], Awaitable[None]]] = {
    "accept_orders": accept_orders,
    "mark_unpublished": mark_unpublished,
    "admit_orders": admit_orders,
    "reserve_orders": reserve_orders,
    "release_orders": release_orders,
    "reject_messages": reject_messages,
    "claim_waiting_orders": claim_waiting_orders,
    "create_drop": create_drop,
    "set_drop_state": set_drop_state,
    "restock_item": restock_item,
}


async def test_every_function_that_a_role_may_call_has_one_counterpart(engine: Engine) -> None:
    functions = [row["proname"] for row in await engine.connection.fetch(CALLABLE)]
    assert sorted(functions) == sorted(CONTRACTS)


@pytest.mark.parametrize("function", sorted(CONTRACTS))
async def test_a_function_answers_all_that_its_type_names_and_nothing_else(engine: Engine, function: str) -> None:
    caller = Caller(engine)
    await CALLS[function](caller)
    assert set(marks(CONTRACTS[function].returns, function)) - caller.answered == set()
