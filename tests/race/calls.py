"""Calls of the SQL functions, one by one or at the same moment, with what the model says to each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import asyncpg

from tests.race.books import Wanted
from tests.race.model import Model
from tests.race.payments_model import LATER_SECONDS, Fact, Pace, RefundFact

CONNECTIONS = 3
# What a verdict of accept_orders must tell beside its outcome.
_TOLD = {
    "created": "amount_minor",
    "replayed": "amount_minor",
    "conflict": "amount_minor",
    "price_changed": "amount_minor",
    "unknown_sku": "unknown_skus",
    "sold_out": "sold_out_skus",
}
_PAYMENT_COLUMNS = ("order_id", "attempt", "provider_ref", "ending", "amount_minor")
_REFUND_COLUMNS = ("refund_id", "order_id", "attempt", "key_number", "amount_minor", "provider_ref")
_TABLES = ("events", "ledger", "refunds", "payments", "customer_limits", "order_lines", "orders", "items", "drops")
_CLOSE_THE_GATE = "LOCK TABLE drops, orders, refunds IN ACCESS EXCLUSIVE MODE"  # every call reads one of them
_AT_THE_GATE = """
SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE NOT granted AND datname = current_database()
"""
_BOOKS = """
SELECT jsonb_build_object(
    'violations', (SELECT coalesce(jsonb_agg(coalesce(order_id::text, violation) ORDER BY order_id), '[]')
                   FROM audit_violations),
    'drops', (SELECT coalesce(jsonb_object_agg(id, state), '{}') FROM drops),
    'items', (SELECT coalesce(jsonb_object_agg(drop_id || '/' || sku, jsonb_build_array(stock, reserved, sold)), '{}')
              FROM items),
    'orders', (SELECT coalesce(jsonb_agg(jsonb_build_array(id, status, reason, amount_minor, fingerprint,
                   hold_expires_at <= clock_timestamp(), request ? 'payment_method',
                   (SELECT jsonb_agg(concat_ws(' ', type, reason) ORDER BY seq) FROM events e
                    WHERE e.order_id = o.id))
                   ORDER BY accepted_at, id), '[]')
               FROM orders o),
    'limits', (SELECT coalesce(jsonb_object_agg(drop_id || '/' || customer_id, quantity), '{}')
               FROM customer_limits WHERE quantity > 0),
    'payments', (SELECT coalesce(jsonb_agg(jsonb_build_array(order_id, state, due_at <= clock_timestamp(), attempt,
                     provider_ref, ending, client_secret, captured_minor, refunded_minor) ORDER BY position), '[]')
                 FROM payments),
    'refunds', (SELECT coalesce(jsonb_agg(jsonb_build_array(id, order_id, amount_minor, reason, restock, state,
                    due_at <= clock_timestamp(), attempt, key_number) ORDER BY created_at), '[]')
                FROM refunds),
    'tokens', (SELECT tokens FROM payment_pace))
"""
# The id of a refund that the engine makes by itself is drawn; its order's id in its place can be foretold.
_NAME_REFUNDS = """
CREATE FUNCTION name_refund() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.order_id; RETURN NEW; END $$;
CREATE TRIGGER name_refund BEFORE INSERT ON refunds FOR EACH ROW WHEN (NEW.reason = 'no_stock')
EXECUTE FUNCTION name_refund();
"""
_END_HOLDS = (
    "UPDATE orders SET hold_expires_at = now() - interval '1 s' WHERE hold_expires_at IS NOT NULL AND id = ANY ($1)"
)


Among = Collection[str] | None  # what a call that skips locked rows came by; None: all that there is


@dataclass(frozen=True)
class Call:
    """A call of a SQL function, and what a model says to it.

    Calls at once are more than one after the other only in what a call leaves aside because another one has it. `among`
    tells, of a call's answer, what it may have come by.
    """

    function: str
    argument: Any
    expected: Callable[[Model, Among], Any]
    among: Callable[[Model, Any], Iterable[Among]] = lambda _model, _answer: [None]

    @property
    def moves_orders(self) -> bool:
        """Whether it moves orders on, and tells what has become of each."""
        return self.function in ("reserve_orders", "release_orders")

    def read(self, answer: Any) -> Any:
        """The function's answer, in the model's words."""
        match self.function:
            case "accept_orders":
                return [(verdict["outcome"], verdict.get(_TOLD.get(verdict["outcome"]))) for verdict in answer]
            case "claim_payments":
                return {**answer, "claimed": _columns(answer["claimed"], _PAYMENT_COLUMNS)}
            case "settle_payments":
                return [(entry["outcome"], entry["provider_ref"]) for entry in answer]
            case "request_refund":
                return answer["outcome"], answer["amount_minor"], answer["left_minor"]
            case "claim_refunds":
                return _columns(answer, _REFUND_COLUMNS)
            case "settle_refunds":
                return [entry["outcome"] for entry in answer]
        if not self.moves_orders:
            return answer
        said = {entry["order_id"]: entry["outcome"] for entry in answer}
        assert len(said) == len(answer), f"{self.function} names an order twice"
        return said


def _columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[list[Any]]:
    return [[row[name] for name in names] for row in rows]


def accept(batch: list[Wanted]) -> Call:
    return Call("accept_orders", [wanted.entry() for wanted in batch], lambda model, _: model.accept_orders(batch))


def reserve(ids: list[str]) -> Call:
    return Call("reserve_orders", [{"order_id": one} for one in ids], lambda model, _: model.reserve_orders(ids))


def release(ids: list[str]) -> Call:
    batch = [{"order_id": one, "reason": "operator"} for one in ids]
    return Call("release_orders", batch, lambda model, _: model.release_orders(ids))


def restock(drop_id: str, sku: str, quantity: int, ref: str) -> Call:
    wanted = {"drop_id": drop_id, "sku": sku, "quantity": quantity, "ref": ref}
    return Call("restock_item", wanted, lambda model, _: model.restock_item(drop_id, sku, quantity, ref))


def set_state(drop_id: str, state: str) -> Call:
    wanted = {"drop_id": drop_id, "state": state}
    return Call("set_drop_state", wanted, lambda model, _: model.set_drop_state(drop_id, state))


def claim(pace: Pace) -> Call:
    return Call(
        "claim_payments",
        pace.bounds(),
        lambda model, among: model.claim_payments(pace, among),
        lambda _, answer: [{entry[0] for entry in answer["claimed"]}],
    )


def claim_named(ids: list[str], is_short: bool) -> Call:
    bounds = {**Pace(0, False, False, is_short).bounds(), "order_ids": ids}
    return Call("claim_payments", bounds, lambda model, _: model.claim_named_payments(ids, is_short=is_short))


def settle(facts: list[Fact]) -> Call:
    return Call("settle_payments", [fact.entry() for fact in facts], lambda model, _: model.settle_payments(facts))


def expire() -> Call:
    return Call(
        "expire_holds",
        {"limit": 100},
        lambda model, among: model.expire_holds(among),
        lambda model, answer: map(set, combinations(model.late_orders(), answer["expired"])),
    )


def request_refund(refund_id: str, one: str, amount: int | None, restock: bool) -> Call:
    wanted = {"refund_id": refund_id, "order_id": one, "amount_minor": amount, "restock": restock}
    return Call("request_refund", wanted, lambda model, _: model.request_refund(refund_id, one, amount, restock))


def claim_refunds(ids: list[str] | None, is_short: bool) -> Call:
    bounds: dict[str, Any] = {"limit": 100, "lease_seconds": 0 if is_short else LATER_SECONDS}
    return Call(
        "claim_refunds",
        bounds if ids is None else {**bounds, "refund_ids": ids},
        lambda model, among: model.claim_refunds(ids, is_short, among),
        lambda _, answer: [{entry[0] for entry in answer}],
    )


def settle_refunds(facts: list[RefundFact]) -> Call:
    return Call("settle_refunds", [fact.entry() for fact in facts], lambda model, _: model.settle_refunds(facts))


class Database:
    """Connections to a database of its own, and the loop that they live on."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._runner = runner
        self._connections = [self._run(_connect(url)) for _ in range(CONNECTIONS)]
        self._gate = self._run(_connect(url))
        self._run(self._gate.execute(_NAME_REFUNDS))

    def call(self, *calls: Call) -> list[Any]:
        """Make the calls at the same moment, each on a connection of its own; their answers in the model's words."""
        return list(self._run(self._together(calls)))

    def end_holds(self, ids: list[str]) -> None:
        """Let the time be over that these orders have."""
        self._run(self._connections[0].execute(_END_HOLDS, ids))

    def create_drop(self, wanted: dict[str, Any]) -> str:
        query = self._connections[0].fetchval("SELECT create_drop($1::jsonb)", json.dumps(wanted))
        return str(json.loads(self._run(query))["outcome"])

    def books(self) -> Any:
        """All that the tables say, as Model.books tells it."""
        return json.loads(self._run(self._connections[0].fetchval(_BOOKS)))

    def empty(self) -> None:
        """Delete every row, which takes a tenth of the time that truncating takes."""
        self._run(
            self._connections[0].execute(
                ";".join([f"DELETE FROM {table}" for table in _TABLES] + ["UPDATE payment_pace SET tokens = 0"])
            )
        )

    def close(self) -> None:
        for connection in (*self._connections, self._gate):
            self._run(connection.close())

    def _run(self, wanted: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(wanted)

    async def _together(self, calls: Sequence[Call]) -> list[Any]:
        async with AsyncExitStack() as stack:
            if len(calls) > 1:  # behind a closed gate all of them take their first look, and then run together
                await stack.enter_async_context(self._gate.transaction())
                await self._gate.execute(_CLOSE_THE_GATE)
            answers = [
                asyncio.ensure_future(
                    connection.fetchval(f"SELECT {call.function}($1::jsonb)", json.dumps(call.argument))
                )
                for connection, call in zip(self._connections, calls, strict=False)
            ]
            while len(calls) > 1 and await self._gate.fetchval(_AT_THE_GATE) + sum(a.done() for a in answers) < len(
                calls
            ):
                continue
        await asyncio.wait(answers)
        return [call.read(json.loads(await answer)) for call, answer in zip(calls, answers, strict=True)]


async def _connect(url: str) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(url)
