"""Random histories of calls, on three connections, against a model of the books in plain Python."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from local.postgres import Postgres
from tests.conftest import order, order_id

TABLES = "drops, items, orders, order_lines, customer_limits, ledger, events, rejected_messages"
PRICES = {"A": 0, "B": 5, "C": 70}  # a cart of A alone is free, and confirmed at once

connection_numbers = st.integers(0, 2)
drop_ids = st.sampled_from(["one", "one", "one", "two"])
states = st.sampled_from(["live", "live", "live", "live", "paused", "paused", "draft", "ended"])
keys = st.sampled_from([f"key-{n}" for n in range(10)])
skus = st.sampled_from(sorted(PRICES))
stocks = st.fixed_dictionaries({"A": st.integers(1, 9), "B": st.integers(1, 9)}, optional={"C": st.integers(0, 9)})
limits = st.sampled_from([None, 3, 6])
references = st.lists(st.tuples(drop_ids, keys), min_size=3, max_size=8)
cancellations = st.lists(st.tuples(drop_ids, keys), min_size=1, max_size=3)


@dataclass(frozen=True)
class Wanted:
    """One entry of a batch for accept_orders."""

    drop_id: str
    key: str
    fingerprint: str
    customer: str
    items: dict[str, int]
    payable: bool
    payment_method: bool

    def entry(self) -> dict[str, Any]:
        request = {"payment_method": "card"} if self.payment_method else {}
        same = {"fingerprint": self.fingerprint, "customer": self.customer, "payable": self.payable}
        return order(self.key, self.items, drop_id=self.drop_id, request=request, **same)


carts = st.builds(
    Wanted,
    drop_id=drop_ids,
    key=keys,
    fingerprint=st.sampled_from(["same", "same", "other"]),
    customer=st.sampled_from(["x", "y"]),
    items=st.dictionaries(skus, st.integers(1, 3), min_size=1),
    payable=st.sampled_from([True, True, True, False]),
    payment_method=st.sampled_from([True, True, True, False]),
)


@dataclass
class Item:
    """The counters of one SKU."""

    stock: int
    reserved: int = 0
    sold: int = 0

    @property
    def free(self) -> int:
        return self.stock - self.reserved - self.sold


@dataclass
class Drop:
    """A drop with its items and the restockings that it has seen."""

    state: str
    limit: int | None
    items: dict[str, Item]
    restocked: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Order:
    """An order as it was accepted, and what has become of it."""

    wanted: Wanted
    amount: int
    status: str = "accepted"
    reason: str | None = None

    @property
    def holds(self) -> bool:
        return self.status in ("reserved", "confirmed")


class Model:
    """What the SQL functions promise, one call after the other."""

    def __init__(self) -> None:
        self.drops: dict[str, Drop] = {}
        self.orders: dict[str, Order] = {}  # oldest first

    def create_drop(self, drop_id: str, state: str, limit: int | None, items: dict[str, int]) -> str:
        if drop_id in self.drops:
            return "exists"
        self.drops[drop_id] = Drop(state, limit, {sku: Item(stock) for sku, stock in items.items()})
        return "created"

    def set_state(self, drop_id: str, state: str) -> str:
        drop = self.drops.get(drop_id)
        if drop is None:
            return "drop_not_found"
        if drop.state == state:
            return "unchanged"
        if (drop.state, state) not in {
            ("draft", "live"),
            ("draft", "ended"),
            ("live", "paused"),
            ("live", "ended"),
            ("paused", "live"),
            ("paused", "ended"),
        }:
            return "not_allowed"
        drop.state = state
        return "ok"

    def restock(self, drop_id: str, sku: str, quantity: int, ref: str) -> str:
        drop = self.drops.get(drop_id)
        if drop is None:
            return "drop_not_found"
        if sku not in drop.items:
            return "unknown_sku"
        if (sku, ref) in drop.restocked:
            return "replayed"
        drop.restocked.add((sku, ref))
        drop.items[sku].stock += quantity
        return "ok"

    def accept(self, batch: list[Wanted]) -> list[tuple[str, int | None]]:
        """The outcome of each request, with the amount of the order that there is."""
        refusals = [self.refusal(wanted) for wanted in batch]
        chosen: dict[str, int] = {}
        for n, (wanted, refusal) in enumerate(zip(batch, refusals, strict=True)):
            one = order_id(wanted.key, wanted.drop_id)
            if refusal is None and one not in self.orders:
                chosen.setdefault(one, n)
        for one, n in sorted(chosen.items()):
            self.orders[one] = Order(batch[n], cost(batch[n]))
        outcomes: list[tuple[str, int | None]] = []
        for n, (wanted, refusal) in enumerate(zip(batch, refusals, strict=True)):
            one = order_id(wanted.key, wanted.drop_id)
            found = self.orders.get(one)
            if found is None:
                assert refusal is not None
                outcomes.append((refusal, None))
            elif chosen.get(one) == n:
                outcomes.append(("created", found.amount))
            else:
                same = found.wanted.fingerprint == wanted.fingerprint
                outcomes.append(("replayed" if same else "conflict", found.amount))
        return outcomes

    def refusal(self, wanted: Wanted) -> str | None:
        drop = self.drops.get(wanted.drop_id)
        if drop is None:
            return "drop_not_found"
        if drop.state != "live":
            return {"ended": "closed", "draft": "not_open", "paused": "paused"}[drop.state]
        if not wanted.items.keys() <= drop.items.keys():
            return "unknown_sku"
        if wanted.payable and cost(wanted) and not wanted.payment_method:
            return "payment_method_required"
        if any(drop.items[sku].free <= 0 for sku in wanted.items):
            return "sold_out"
        return "payments_unavailable" if cost(wanted) and not wanted.payable else None

    def reserve(self, ids: set[str]) -> dict[str, str]:
        for one, found in self.orders.items():
            if one in ids and found.status == "accepted" and self.drops[found.wanted.drop_id].state != "paused":
                self.decide(found)
        return {one: "paused" if status == "accepted" else status for one, status in self.statuses(ids).items()}

    def decide(self, found: Order) -> None:
        wanted, drop = found.wanted, self.drops[found.wanted.drop_id]
        bought = self.bought().get((wanted.drop_id, wanted.customer), 0)
        if drop.limit is not None and bought + sum(wanted.items.values()) > drop.limit:
            found.status, found.reason = "rejected", "limit_exceeded"
        elif any(drop.items[sku].free < quantity for sku, quantity in wanted.items.items()):
            found.status = "sold_out"
        else:
            found.status = "reserved" if found.amount else "confirmed"
            for sku, quantity in wanted.items.items():
                if found.amount:
                    drop.items[sku].reserved += quantity
                else:
                    drop.items[sku].sold += quantity

    def release(self, ids: set[str]) -> dict[str, str]:
        for one in ids & self.orders.keys():
            found = self.orders[one]
            if found.status == "reserved":
                for sku, quantity in found.wanted.items.items():
                    self.drops[found.wanted.drop_id].items[sku].reserved -= quantity
            if found.status in ("accepted", "reserved"):
                found.status, found.reason = "cancelled", "operator"
        return {one: "too_late" if status == "confirmed" else status for one, status in self.statuses(ids).items()}

    def statuses(self, ids: set[str]) -> dict[str, str]:
        return {one: self.orders[one].status if one in self.orders else "unknown_order" for one in ids}

    def bought(self) -> dict[tuple[str, str], int]:
        """Units that each customer holds of each drop that has a limit."""
        units: dict[tuple[str, str], int] = {}
        for found in self.orders.values():
            if found.holds and self.drops[found.wanted.drop_id].limit is not None:
                buyer = (found.wanted.drop_id, found.wanted.customer)
                units[buyer] = units.get(buyer, 0) + sum(found.wanted.items.values())
        return units


def cost(wanted: Wanted) -> int:
    return sum(PRICES[sku] * quantity for sku, quantity in wanted.items.items())


class Database:
    """Three connections to a database of its own, and the loop that they live on."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.runner = runner
        self.connections = [self.run(connect(url)) for _ in range(3)]

    def run(self, wanted: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(wanted)

    def call(self, connection: int, function: str, argument: object) -> Any:
        query = self.connections[connection].fetchval(f"SELECT {function}($1::jsonb)", json.dumps(argument))
        return json.loads(self.run(query))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.run(self.connections[0].fetch(query))]

    def empty(self) -> None:
        self.run(self.connections[0].execute(f"TRUNCATE {TABLES}"))

    def close(self) -> None:
        for connection in self.connections:
            self.run(connection.close())


class Histories(RuleBasedStateMachine):
    """Each rule makes one call, and expects of it what the model says."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database, self.model = database, Model()
        database.empty()

    @initialize(limit=limits, items=stocks)
    def open_for_business(self, limit: int | None, items: dict[str, int]) -> None:
        self.create_drop_on(0, "one", "live", limit, items)

    @rule(connection=connection_numbers, drop_id=drop_ids, state=states, limit=limits, items=stocks)
    def create_drop(self, connection: int, drop_id: str, state: str, limit: int | None, items: dict[str, int]) -> None:
        self.create_drop_on(connection, drop_id, state, limit, items)

    def create_drop_on(
        self, connection: int, drop_id: str, state: str, limit: int | None, items: dict[str, int]
    ) -> None:
        rows = [{"sku": sku, "stock": stock, "unit_price_minor": PRICES[sku]} for sku, stock in items.items()]
        wanted = {"id": drop_id, "currency": "USD", "state": state, "per_customer_limit": limit, "items": rows}
        outcome = self.database.call(connection, "create_drop", wanted)["outcome"]
        assert outcome == self.model.create_drop(drop_id, state, limit, items)

    @rule(connection=connection_numbers, drop_id=drop_ids, state=states)
    def set_drop_state(self, connection: int, drop_id: str, state: str) -> None:
        outcome = self.database.call(connection, "set_drop_state", {"drop_id": drop_id, "state": state})["outcome"]
        assert outcome == self.model.set_state(drop_id, state)

    @rule(
        connection=connection_numbers,
        drop_id=drop_ids,
        sku=skus,
        quantity=st.integers(1, 5),
        ref=st.sampled_from(["first", "second"]),
    )
    def restock_item(self, connection: int, drop_id: str, sku: str, quantity: int, ref: str) -> None:
        wanted = {"drop_id": drop_id, "sku": sku, "quantity": quantity, "ref": ref}
        outcome = self.database.call(connection, "restock_item", wanted)["outcome"]
        assert outcome == self.model.restock(drop_id, sku, quantity, ref)

    @rule(connection=connection_numbers, batch=st.lists(carts, min_size=3, max_size=8))
    def accept_orders(self, connection: int, batch: list[Wanted]) -> None:
        verdicts = self.database.call(connection, "accept_orders", [wanted.entry() for wanted in batch])
        expected = self.model.accept(batch)
        assert [verdict["outcome"] for verdict in verdicts] == [outcome for outcome, _ in expected]
        for verdict, (_, amount) in zip(verdicts, expected, strict=True):
            assert amount is None or verdict["amount_minor"] == amount

    @rule(connection=connection_numbers, wanted=references)
    def reserve_orders(self, connection: int, wanted: list[tuple[str, str]]) -> None:
        ids = [order_id(key, drop_id) for drop_id, key in wanted]
        outcomes = self.database.call(connection, "reserve_orders", [{"order_id": one} for one in ids])
        assert by_order(outcomes) == self.model.reserve(set(ids))

    @rule(connection=connection_numbers)
    def reserve_everything(self, connection: int) -> None:
        ids = list(self.model.orders)
        outcomes = self.database.call(connection, "reserve_orders", [{"order_id": one} for one in ids])
        assert by_order(outcomes) == self.model.reserve(set(ids))

    @rule(connection=connection_numbers, wanted=cancellations)
    def release_orders(self, connection: int, wanted: list[tuple[str, str]]) -> None:
        ids = [order_id(key, drop_id) for drop_id, key in wanted]
        batch = [{"order_id": one, "reason": "operator"} for one in ids]
        assert by_order(self.database.call(connection, "release_orders", batch)) == self.model.release(set(ids))

    @invariant()
    def the_audit_finds_nothing(self) -> None:
        assert self.database.rows("SELECT * FROM audit_violations") == []

    @invariant()
    def the_books_equal_the_model(self) -> None:
        items = {
            (drop_id, sku, item.stock, item.reserved, item.sold)
            for drop_id, drop in self.model.drops.items()
            for sku, item in drop.items.items()
        }
        assert set(self.database.rows("SELECT drop_id, sku, stock, reserved, sold FROM items")) == items
        orders = {one: (found.status, found.reason, found.amount) for one, found in self.model.orders.items()}
        rows = self.database.rows("SELECT id::text, status, reason, amount_minor FROM orders")
        assert {row[0]: row[1:] for row in rows} == orders
        limits_reached = self.database.rows("SELECT drop_id, customer_id, quantity FROM customer_limits")
        assert {row[:2]: row[2] for row in limits_reached if row[2]} == self.model.bought()
        assert set(self.database.rows("SELECT id, state FROM drops")) == {
            (drop_id, drop.state) for drop_id, drop in self.model.drops.items()
        }


def by_order(outcomes: list[dict[str, str]]) -> dict[str, str]:
    """Outcomes by order, each order named once."""
    found = {outcome["order_id"]: outcome["outcome"] for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found


@pytest.fixture
def database(postgres: Postgres, template: str) -> Iterator[Database]:
    """A freshly migrated database of its own; every history begins by emptying it."""
    name = f"test_{uuid4().hex}"
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        server: asyncpg.Connection[Any] = runner.run(connect(postgres.url("postgres")))
        runner.run(server.execute(f"CREATE DATABASE {name} TEMPLATE {template}"))
        runner.run(server.close())
        opened = Database(runner, postgres.url(name))
        yield opened
        opened.close()


async def connect(url: str) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(url)


def test_random_histories_leave_the_books_as_the_model_has_them(database: Database) -> None:
    run_state_machine_as_test(
        lambda: Histories(database),  # type: ignore[arg-type]  # it takes any factory
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
