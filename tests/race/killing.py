"""An order's charge under crashes: charge_order between two borders, killed at a place, and started anew."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tests.conftest import Engine, order
from tests.contract.stripe_stand_in import KEY, StandIn
from tests.race.crossings import Side, border_way
from tests.serving import served

PRICE, UNITS = 3500, 2  # of every order
WAIT_SECONDS, PUSH_SECONDS = 60.0, 60.0
WAKE_UP = {"schema_version": 1, "kind": "wake_up"}


class Shop:
    """Orders of one drop, what charges them, and the border that kills it."""

    def __init__(self, engine: Engine, runner: asyncio.Runner, stripe: StandIn) -> None:
        self.engine, self._runner, self.stripe = engine, runner, stripe
        self.border = Killer()
        self.start: Callable[[], Any] = lambda: None  # serves charge_order, however it is to be served now
        self._function = ExitStack()
        self._url = ""

    def run(self, call: Any) -> Any:
        return self._runner.run(call)

    def stop(self) -> None:
        self._function.close()
        self._url = ""

    def reserve(self, card: str) -> str:
        entry = order(uuid4().hex, {"M": UNITS}, payable=True, request={"payment_method": card})
        self.run(self.engine.accept(entry))
        self.run(self.engine.reserve(entry["order_id"]))
        return str(entry["order_id"])

    def call(self, function: str, argument: Any) -> Any:
        return self.run(self.engine.call(function, argument))

    def execute(self, statement: str, *arguments: Any) -> None:
        self.run(self.engine.connection.execute(statement, *arguments))

    def value(self, query: str, *arguments: Any) -> Any:
        return self.run(self.engine.connection.fetchval(query, *arguments))

    def status(self, of: str) -> str:
        return str(self.value("SELECT status FROM orders WHERE id = $1", of))

    def violations(self) -> list[Any]:
        return list(self.run(self.engine.violations()))

    def moved(self, of: str) -> list[tuple[str, int]]:
        """Every movement of an order's money."""
        found = [m for m in self.stripe.movements() if m["metadata"]["order_id"] == of]
        return [(movement["kind"], movement["amount"]) for movement in found]

    def is_settled(self, of: str) -> bool:
        """Whether nobody can pay the order's payment any more; a buyer's browser knows how to try."""
        ref = self.value("SELECT provider_ref FROM payments WHERE order_id = $1", of)
        return ref is None or self.stripe.payment_intents.retrieve(ref).status in ("succeeded", "canceled")

    def push(self, message: dict[str, Any]) -> bool:
        """Deliver a message to charge_order; whether it was acknowledged."""
        if not self._url:
            self._url, group = self._function.enter_context(self.start())
            self.border.group = group
        self.border.new_round()
        data = base64.b64encode(json.dumps(message).encode()).decode()
        body = json.dumps({"message": {"messageId": uuid4().hex, "data": data}}).encode()
        try:
            request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=PUSH_SECONDS) as answer:
                return bool(answer.status == 204)
        except OSError:
            if not self.border.is_closed:
                raise
            self.stop()
            self.border.is_closed = False
            return False

    def reach(self, of: str, status: str, message: dict[str, Any], meanwhile: Callable[[Shop, str], None]) -> None:
        """Deliver a message, again until it is acknowledged, and then wake-ups, until the order is where it belongs.

        `meanwhile` is what happens while nobody charges, after a crash. Leases and pauses are over at once.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            is_taken = self.push(message)
            if not is_taken:
                meanwhile(self, of)
            elif self.status(of) == status:
                return
            assert time.monotonic() < deadline, f"the order is {self.status(of)}, not {status}"
            message = WAKE_UP if is_taken else message
            for table in ("payments", "refunds"):
                self.execute(f"UPDATE {table} SET due_at = now() WHERE due_at IS NOT NULL")


class Killer:
    """Counts what crosses the border, and kills charge_order at one place.

    charge_order looks for work more often than it finds any: of each kind of claim only the first of a round counts.
    """

    def __init__(self) -> None:
        self.group = 0
        self.is_closed = False
        self.crashes = 0
        self.crossings: list[str] = []
        self._place: tuple[int, Side] | None = None
        self._under_way = ""
        self._claims: set[str] = set()
        self._lock = threading.Lock()

    def arm(self, place: tuple[int, Side] | None) -> None:
        with self._lock:
            self.crossings, self._place, self.crashes = [], place, 0

    def new_round(self) -> None:
        with self._lock:
            self._claims, self._under_way = set(), ""

    def crossed(self, name: str, side: Side) -> bool:
        with self._lock:
            if side == "before" and not (name.startswith("claim_") and name in self._claims):
                self._claims.add(name)
                self.crossings.append(name)
                self._under_way = name
            elif side == "before" or name != self._under_way:
                return self.is_closed
            else:
                self._under_way = ""
            if self._place == (len(self.crossings) - 1, side):
                self._place, self.is_closed, self.crashes = None, True, self.crashes + 1
                os.killpg(self.group, signal.SIGKILL)
            return self.is_closed


@contextmanager
def charging(shop: Shop, source: Path, **environment: str) -> Iterator[None]:
    """Charge with this, with a border on both sides of it."""
    database, before = urlsplit(shop.engine.url), shop.start
    assert database.port is not None
    with (
        border_way("stripe", shop.stripe.port, shop.border) as stripe_port,
        border_way("postgres", database.port, shop.border) as database_port,
    ):
        url = database._replace(netloc=database.netloc.replace(f":{database.port}", f":{database_port}")).geturl()
        shop.stop()
        shop.start = lambda: served(
            source,
            "charge_order",
            url,
            output=None,
            MERCHDROP_PAYMENT_PROVIDER="stripe",
            MERCHDROP_STRIPE_API_KEY=KEY,
            MERCHDROP_STRIPE_API_BASE=f"http://127.0.0.1:{stripe_port}",
            MERCHDROP_PAYMENTS_PER_SECOND="1000",
            **environment,
        )
        yield
        shop.stop()
        shop.start = before
