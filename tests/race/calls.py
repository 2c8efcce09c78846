"""Calls of the SQL functions, one by one or at the same moment, with what the model says to each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.race.model import Model, Wanted

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
_TABLES = ("events", "ledger", "refunds", "payments", "customer_limits", "order_lines", "orders", "items", "drops")
_CLOSE_THE_GATE = "LOCK TABLE drops, orders IN ACCESS EXCLUSIVE MODE"  # there is no call that reads neither
_AT_THE_GATE = """
SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE NOT granted AND datname = current_database()
"""
_BOOKS = """
SELECT jsonb_build_object(
    'violations', (SELECT coalesce(jsonb_agg(to_jsonb(v)), '[]') FROM audit_violations v),
    'drops', (SELECT coalesce(jsonb_object_agg(id, state), '{}') FROM drops),
    'items', (SELECT coalesce(jsonb_object_agg(drop_id || '/' || sku, jsonb_build_array(stock, reserved, sold)), '{}')
              FROM items),
    'orders', (SELECT coalesce(jsonb_agg(jsonb_build_array(id, status, reason, amount_minor, fingerprint,
                   (SELECT jsonb_agg(concat_ws(' ', type, reason) ORDER BY seq) FROM events e
                    WHERE e.order_id = o.id))
                   ORDER BY accepted_at, id), '[]')
               FROM orders o),
    'limits', (SELECT coalesce(jsonb_object_agg(drop_id || '/' || customer_id, quantity), '{}')
               FROM customer_limits WHERE quantity > 0))
"""


@dataclass(frozen=True)
class Call:
    """A call of a SQL function, and what a model says to it."""

    function: str
    argument: Any
    expected: Callable[[Model], Any]

    @property
    def moves_orders(self) -> bool:
        """Whether it moves orders on, and tells what has become of each."""
        return self.function in ("reserve_orders", "release_orders")

    def read(self, answer: Any) -> Any:
        """The function's answer, in the model's words."""
        if self.function == "accept_orders":
            return [(verdict["outcome"], verdict.get(_TOLD.get(verdict["outcome"]))) for verdict in answer]
        if not self.moves_orders:
            return answer
        said = {entry["order_id"]: entry["outcome"] for entry in answer}
        assert len(said) == len(answer), f"{self.function} names an order twice"
        return said


def accept(batch: list[Wanted]) -> Call:
    return Call("accept_orders", [wanted.entry() for wanted in batch], lambda model: model.accept_orders(batch))


def reserve(ids: list[str]) -> Call:
    return Call("reserve_orders", [{"order_id": one} for one in ids], lambda model: model.reserve_orders(ids))


def release(ids: list[str]) -> Call:
    batch = [{"order_id": one, "reason": "operator"} for one in ids]
    return Call("release_orders", batch, lambda model: model.release_orders(ids))


def restock(drop_id: str, sku: str, quantity: int, ref: str) -> Call:
    wanted = {"drop_id": drop_id, "sku": sku, "quantity": quantity, "ref": ref}
    return Call("restock_item", wanted, lambda model: model.restock_item(drop_id, sku, quantity, ref))


def set_state(drop_id: str, state: str) -> Call:
    wanted = {"drop_id": drop_id, "state": state}
    return Call("set_drop_state", wanted, lambda model: model.set_drop_state(drop_id, state))


class Database:
    """Connections to a database of its own, and the loop that they live on."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._runner = runner
        self._connections = [self._run(_connect(url)) for _ in range(CONNECTIONS)]
        self._gate = self._run(_connect(url))

    def call(self, *calls: Call) -> list[Any]:
        """Make the calls at the same moment, each on a connection of its own; their answers in the model's words."""
        return list(self._run(self._together(calls)))

    def create_drop(self, wanted: dict[str, Any]) -> str:
        query = self._connections[0].fetchval("SELECT create_drop($1::jsonb)", json.dumps(wanted))
        return str(json.loads(self._run(query))["outcome"])

    def books(self) -> Any:
        """All that the tables say, as Model.books tells it."""
        return json.loads(self._run(self._connections[0].fetchval(_BOOKS)))

    def empty(self) -> None:
        """Delete every row, which takes a tenth of the time that truncating takes."""
        self._run(self._connections[0].execute(";".join(f"DELETE FROM {table}" for table in _TABLES)))

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
