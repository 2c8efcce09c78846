"""Orders on a real database that are charged at the stand-in for Stripe, and the operator's commands on both."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any
from uuid import uuid4

from click.testing import Result

from common.charges import Charges
from common.database import Database
from common.refunds import Refunds
from common.stripe_payments import StripePayments
from local.machine import HOST
from tests.command import run
from tests.conftest import Engine, order
from tests.contract.stripe_stand_in import KEY, POLL_SECONDS, WAIT_SECONDS, StandIn

PRICE = 3500


class Till:
    """One drop with ten units. Its id is its own, so that tests can share a stand-in."""

    def __init__(self, engine: Engine, stand_in: StandIn) -> None:
        self.engine, self.stand_in = engine, stand_in
        self.drop_id = f"drop-{uuid4().hex[:12]}"
        self.api_base = f"http://{HOST}:{stand_in.port}"
        self._database = Database(engine.url)
        self._provider = StripePayments(KEY, self.api_base)
        self._charges = Charges(self._database, self._provider, pace=1000.0)
        self.refunds = Refunds(self._database, self._provider)

    async def open(self, **fields: Any) -> None:
        await self.engine.create_drop(self.drop_id, **{"items": {"M": 10}, "price": PRICE, **fields})

    async def close(self) -> None:
        await self._provider.close()
        await self._database.close()

    async def accepted(self, key: str = "a", card: str = "pm_card_visa", **fields: Any) -> str:
        wanted = order(key, drop_id=self.drop_id, payable=True, request={"payment_method": card}, **fields)
        await self.engine.accept(wanted)
        return str(wanted["order_id"])

    async def free_order(self) -> str:
        """A confirmed order of another drop, where nothing has a price."""
        await self.engine.create_drop("free")
        wanted = order("free", drop_id="free")
        await self.engine.accept(wanted)
        assert await self.engine.reserve(wanted["order_id"]) == {wanted["order_id"]: "confirmed"}
        return str(wanted["order_id"])

    async def reserved(self, key: str = "a", card: str = "pm_card_visa") -> str:
        one = await self.accepted(key, card)
        assert await self.engine.reserve(one) == {one: "reserved"}
        return one

    async def charged(self, key: str = "a", card: str = "pm_card_visa") -> str:
        """An order that was charged, however that ended."""
        one = await self.reserved(key, card)
        await self.charge()
        return one

    async def charge(self) -> None:
        await self._charges.work(30)

    async def catch_up(self) -> None:
        """What reconcile does when every pause and every dead claim is over."""
        for table in ("payments", "refunds"):
            await self.engine.connection.execute(f"UPDATE {table} SET due_at = now() WHERE due_at IS NOT NULL")
        await self.charge()
        await self.refunds.work()

    async def run(self, *arguments: str) -> Result:
        return await asyncio.to_thread(run, *arguments, url=self.engine.url)

    async def tell(self, *arguments: str, status: int = 0) -> Any:
        """The document of a command that ends with this exit status."""
        result = await self.run(*arguments, "--json")
        assert (result.exit_code, result.stderr) == (status, ""), result.output
        return json.loads(result.stdout)

    async def fail(self, *arguments: str, status: int = 1) -> str:
        """What a command says that must fail, and say nothing on standard output."""
        result = await self.run(*arguments)
        assert (result.exit_code, result.stdout) == (status, ""), result.output
        return result.stderr

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        environment = {
            **os.environ,
            "MERCHDROP_DATABASE_URL": self.engine.url,
            "MERCHDROP_STRIPE_API_KEY": KEY,
            "MERCHDROP_STRIPE_API_BASE": self.api_base,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def moved(self, order_id: str) -> list[tuple[str, int]]:
        """Every movement of money for an order, in the stand-in's own list."""
        found = self.stand_in.movements()
        return [(m["kind"], m["amount"]) for m in found if m["metadata"].get("order_id") == order_id]

    async def ref(self, order_id: str) -> str:
        query = "SELECT provider_ref FROM payments WHERE order_id = $1"
        return str(await self.engine.connection.fetchval(query, order_id))

    async def status(self, order_id: str) -> str:
        return str(await self.engine.connection.fetchval("SELECT status FROM orders WHERE id = $1", order_id))

    async def until(self, query: str) -> None:
        """Wait for a query to say so."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not await self.engine.connection.fetchval(query):  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(POLL_SECONDS)

    async def available(self) -> int:
        """Units on sale."""
        return int(await self.engine.connection.fetchval("SELECT stock - reserved - sold FROM items"))
