"""Random histories of calls, one by one and several at once, against a model of the books in plain Python."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from local.postgres import Postgres
from tests.conftest import execute, order_id
from tests.race.books import PRICES, Wanted
from tests.race.calls import CONNECTIONS, Among, Call, Database, accept, release, reserve, restock, set_state
from tests.race.model import WINDOWS, Model
from tests.race.money import Move, call_of, moves

HISTORIES, STEPS = 80, 50
DROPS_MAX = 6

NO_SUCH_DROP, NOT_SOLD = 99, -1
recencies = st.sampled_from([0] * 12 + [1, 1, 1, 2, NO_SUCH_DROP])  # which drop: so many back from the newest
first_states = st.sampled_from(["live"] * 8 + ["paused", "draft"])
next_states = st.sampled_from(["live"] * 5 + ["paused"] * 4 + ["draft", "ended", "ended"])
windows = st.sampled_from(["open"] * 10 + ["early", "over"])
skus = st.sampled_from(["A", "A", "A", "B", "B", "B", "C"])
stocks = st.fixed_dictionaries(
    {"A": st.integers(1, 5), "B": st.sampled_from([1, 2, 3, 5, 7, 30]), "C": st.sampled_from([NOT_SOLD, 0, 1, 2, 4, 7])}
).map(lambda items: {sku: stock for sku, stock in items.items() if stock != NOT_SOLD})
limits = st.sampled_from([None, None, 3, 5])
picks = st.lists(st.integers(0, 99), min_size=1, max_size=6)
FLAWLESS: dict[str, Any] = {"fingerprint": "same", "payable": True, "payment_method": True, "price_off": None}
FLAWS: list[dict[str, Any]] = [
    {"fingerprint": "other"},
    {"payable": False},
    {"payment_method": False},
    {"price_off": 0},
    {"price_off": 1},
]
flaws = st.sampled_from([{}] * 20 + FLAWS + [{**one, **other} for one, other in combinations(FLAWS, 2)])


@dataclass(frozen=True)
class Cart:
    """What a buyer wants; the history tells of which drop."""

    recency: int
    key: int
    customer: str
    items: dict[str, int]
    flaws: dict[str, Any]


def carts_of(skus: st.SearchStrategy[str]) -> st.SearchStrategy[list[Cart]]:
    cart = st.builds(
        Cart,
        recency=recencies,
        key=st.integers(0, 40),
        customer=st.sampled_from(["x", "x", "y", "z"]),
        items=st.dictionaries(skus, st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=2),
        flaws=flaws,
    )
    return st.lists(cart, min_size=1, max_size=8)


carts, dear_carts = carts_of(skus), carts_of(st.sampled_from(["B", "C"]))


class Histories(RuleBasedStateMachine):
    """Each rule makes a call, or several at once, and expects of them what the model says."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database, self.model = database, Model()
        database.empty()

    @initialize(limit=limits, items=stocks)
    def open_for_business(self, limit: int | None, items: dict[str, int]) -> None:
        self.create_drop("drop-0", "live", "open", limit, items)

    @precondition(lambda self: len(self.model.drops) < DROPS_MAX)
    @rule(state=first_states, window=windows, limit=limits, items=stocks)
    def make_another_drop(self, state: str, window: str, limit: int | None, items: dict[str, int]) -> None:
        self.create_drop(f"drop-{len(self.model.drops)}", state, window, limit, items)

    @rule(items=stocks)
    def make_a_drop_that_exists(self, items: dict[str, int]) -> None:
        self.create_drop("drop-0", "live", "open", None, items)

    @rule(recency=recencies, state=next_states)
    def set_drop_state(self, recency: int, state: str) -> None:
        self.one(set_state(self.drop(recency), state))

    @rule(one_by_one=st.lists(moves, min_size=1, max_size=8))
    def move_money(self, one_by_one: list[Move]) -> None:
        for move in one_by_one if self.model.payments else []:
            self.one(call_of(move, self.model))
            self.the_books_equal_the_model()

    @rule(together=st.lists(moves, min_size=2, max_size=CONNECTIONS))
    def move_money_at_once(self, together: list[Move]) -> None:
        if self.model.payments:
            self.at_once(*possible(call_of(move, self.model) for move in together))

    @rule(batch=dear_carts, one_by_one=st.lists(moves, min_size=1, max_size=8))
    def sell_and_move_money(self, batch: list[Cart], one_by_one: list[Move]) -> None:
        self.accept_orders_and_reserve_them(batch)
        self.move_money(one_by_one)

    @rule(batch=dear_carts, first=moves, together=st.lists(moves, min_size=2, max_size=CONNECTIONS))
    def sell_and_move_money_at_once(self, batch: list[Cart], first: Move, together: list[Move]) -> None:
        self.sell_and_move_money(batch, [first])
        self.move_money_at_once(together)

    @rule(which=picks)
    def let_time_pass(self, which: list[int]) -> None:
        held = [one for one, found in self.model.orders.items() if found.is_late is False]
        ids = [held[n % len(held)] for n in which if held]
        self.database.end_holds(ids)
        for one in ids:
            self.model.orders[one].is_late = True

    @rule(recency=recencies, sku=skus, quantity=st.integers(1, 4), ref=st.integers(0, 5))
    def restock_item(self, recency: int, sku: str, quantity: int, ref: int) -> None:
        self.one(restock(self.drop(recency), sku, quantity, str(ref)))

    @rule(batch=carts)
    def accept_orders(self, batch: list[Cart]) -> None:
        self.one(accept(self.wanted(batch)))

    @rule(batch=carts)
    def accept_orders_and_reserve_them(self, batch: list[Cart]) -> None:
        wanted = self.wanted(batch)
        self.one(accept(wanted))
        self.one(reserve([entry.id for entry in wanted]))

    @rule(which=picks)
    def reserve_orders(self, which: list[int]) -> None:
        self.one(reserve(self.some(which)))

    @rule()
    def reserve_everything(self) -> None:
        self.one(reserve(list(self.model.orders)))

    @rule(which=picks)
    def release_orders(self, which: list[int]) -> None:
        self.one(release(self.some(which)))

    @rule(batches=st.lists(carts, min_size=2, max_size=CONNECTIONS))
    def accept_at_once(self, batches: list[list[Cart]]) -> None:
        self.at_once(*(accept(self.wanted(batch)) for batch in batches))

    @rule(first=picks, second=picks, batch=carts)
    def accept_and_reserve_and_release_at_once(self, first: list[int], second: list[int], batch: list[Cart]) -> None:
        self.at_once(reserve(self.some(first)), release(self.some(second)), accept(self.wanted(batch)))

    @rule(batch=carts, recency=recencies, sku=skus)
    def reserve_twice_and_restock_at_once(self, batch: list[Cart], recency: int, sku: str) -> None:
        first, second = self.two_shares_of_what_waits(batch)
        self.at_once(reserve(first), reserve(second), restock(self.drop(recency), sku, 1, "at once"))

    @rule(batch=carts, recency=recencies, state=next_states)
    def reserve_twice_and_change_the_state_at_once(self, batch: list[Cart], recency: int, state: str) -> None:
        first, second = self.two_shares_of_what_waits(batch)
        self.at_once(reserve(first), reserve(second), set_state(self.drop(recency), state))

    @invariant()
    def the_books_equal_the_model(self) -> None:
        assert self.database.books() == self.model.books()

    def create_drop(self, drop_id: str, state: str, window: str, limit: int | None, items: dict[str, int]) -> None:
        rows = [{"sku": sku, "stock": stock, "unit_price_minor": PRICES[sku]} for sku, stock in items.items()]
        wanted = {"id": drop_id, "currency": "USD", "state": state, "per_customer_limit": limit, "items": rows}
        outcome = self.database.create_drop({**wanted, **WINDOWS[window]})
        assert outcome == self.model.create_drop(drop_id, state, window, limit, items)

    def drop(self, recency: int) -> str:
        names = list(self.model.drops)
        return "no-such-drop" if recency == NO_SUCH_DROP else names[-1 - recency % len(names)]

    def wanted(self, batch: list[Cart]) -> list[Wanted]:
        return [
            Wanted(
                drop_id=self.drop(cart.recency),
                key=f"key-{cart.key}",
                customer=cart.customer,
                items=cart.items,
                **{**FLAWLESS, **cart.flaws},
            )
            for cart in batch
        ]

    def some(self, which: list[int]) -> list[str]:
        """Orders, two of three still waiting; now and then one that there isn't."""
        every = [*self.model.orders, order_id("no-such-key")]
        waiting = [one for one, found in self.model.orders.items() if found.status == "accepted"] or every
        return [(waiting if n % 3 else every)[n // 3 % len(waiting if n % 3 else every)] for n in which]

    def two_shares_of_what_waits(self, batch: list[Cart]) -> tuple[list[str], list[str]]:
        """New orders and old ones that wait, in two batches for the same units; the oldest is in both."""
        self.one(accept(self.wanted(batch)))
        waiting = [one for one, found in self.model.orders.items() if found.status == "accepted"]
        return waiting[::2], waiting[:1] + waiting[1::2]

    def one(self, call: Call) -> None:
        assert self.database.call(call) == [call.expected(self.model, None)]

    def at_once(self, *calls: Call) -> None:
        """Whatever the calls did at the same moment, they could have done one after the other, in some order."""
        answers = self.database.call(*calls)
        books = self.database.books()
        for turns in permutations(zip(calls, answers, strict=True)):
            for among in product(*(call.among(self.model, answer) for call, answer in turns)):
                if model := after(self.model, turns, among):
                    model.take_ages(books)
                    if model.books() == books:
                        self.model = model
                        return
        raise AssertionError(f"in no order would {calls} answer {answers} and leave {books}")


def possible(calls: Iterable[Call]) -> list[Call]:
    """A refund's id is drawn: it may come twice at once for one order, never for two."""
    about: dict[str, str] = {}
    return [
        one
        for one in calls
        if one.function != "request_refund"
        or about.setdefault(one.argument["refund_id"], one.argument["order_id"]) == one.argument["order_id"]
    ]


def after(model: Model, turns: Sequence[tuple[Call, Any]], among: Sequence[Among]) -> Model | None:
    """The model after these calls, one by one, or None where an answer contradicts it.

    What a call says of an order that another one moved meanwhile may be what it did, or what the other did later.
    """
    stages: list[Model] = []
    for (call, answer), these in zip(turns, among, strict=True):
        model = model.copy()
        expected = call.expected(model, these)
        if answer.keys() != expected.keys() if call.moves_orders else answer != expected:
            return None
        stages.append(model)
    for n, (call, answer) in enumerate(turns):
        if call.moves_orders:
            told = [stage.outcomes(call.function, answer) for stage in stages[n:]]
            if any(outcome not in [later[one] for later in told] for one, outcome in answer.items()):
                return None
    return model


@pytest.fixture
def database(postgres: Postgres, template: str) -> Iterator[Database]:
    """A freshly migrated database of its own; every history begins by emptying it."""
    name = f"test_{uuid4().hex}"
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(execute(postgres.url("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"))
        opened = Database(runner, postgres.url(name))
        yield opened
        opened.close()


def test_random_histories_leave_the_books_as_the_model_has_them(database: Database) -> None:
    run_state_machine_as_test(
        lambda: Histories(database),  # type: ignore[arg-type]  # it takes any factory
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
