"""A crowd of simulated buyers: each sends an order (some twice at once), retries on the same key, and waits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp

POLL_WAIT_SECONDS = 10
REQUEST_SECONDS = 40.0  # above the longest wait
PAUSE_SECONDS_MAX = 10.0  # between two tries, whatever `Retry-After` says
# Reconcile looks for stuck orders once a minute, with growing pauses: after this long without an answer to anybody,
# nothing more will come.
PATIENCE_SECONDS = 300.0
FINAL = frozenset({"confirmed", "declined", "expired", "cancelled", "refunded", "sold_out", "rejected"})
NO_ANSWER = "no-answer"


@dataclass(frozen=True)
class Plan:
    """Who comes to buy what, drawn from a seed; `run` sets one run's keys and customers apart from another's."""

    run: str
    drop_id: str
    skus: tuple[str, ...]
    buyers: int
    duplicates: float
    max_quantity: int
    connections: int
    seed: int


@dataclass
class Buyer:
    """What one buyer sent, and what he was told."""

    key: str
    body: dict[str, Any]
    copies: int
    order_ids: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    accept_seconds: float | None = None
    status: str | None = None


def draw_buyers(plan: Plan) -> list[Buyer]:
    """The same buyers for the same plan."""
    draw = random.Random(plan.seed)
    buyers = []
    for number in range(plan.buyers):
        line = {"sku": draw.choice(plan.skus), "quantity": draw.randint(1, plan.max_quantity)}
        key = f"{plan.run}-{number}"
        body = {"drop_id": plan.drop_id, "customer": {"id": f"buyer-{key}"}, "items": [line]}
        copies = 2 if draw.random() < plan.duplicates else 1
        buyers.append(Buyer(key, body, copies))
    return buyers


async def let_loose(url: str, plan: Plan, buyers: list[Buyer], tell: Callable[[], None]) -> None:
    """Run the crowd until every buyer has his answer, or nobody gets any more; `tell` after each change."""
    connector = aiohttp.TCPConnector(limit=2 * plan.connections)  # a buyer may send two copies at the same moment
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as http:
        crowd = _Crowd(http, plan.connections, tell)
        await asyncio.gather(*(crowd.buy(buyer) for buyer in buyers))


@dataclass(frozen=True)
class _Answer:
    status: int
    body: dict[str, Any]
    retry_after: float


class _Crowd:
    """The buyers at work, so many at a time; they give up together, once the engine has been silent for too long."""

    def __init__(self, http: aiohttp.ClientSession, connections: int, tell: Callable[[], None]) -> None:
        self._http, self._tell = http, tell
        self._gate = asyncio.Semaphore(connections)
        self._answered_at = time.monotonic()

    async def buy(self, buyer: Buyer) -> None:
        """Send the order, and follow it. The gate is fair: nobody's waiting keeps others from sending first."""
        async with self._gate:
            await asyncio.gather(*(self._send(buyer) for _ in range(buyer.copies)))
        self._tell()
        if buyer.order_ids:
            async with self._gate:
                await self._follow(buyer)
            self._tell()

    async def _send(self, buyer: Buyer) -> None:
        started = time.monotonic()
        last = NO_ANSWER
        for attempt in count():
            if self._is_hopeless():
                buyer.refusals.append(last)
                return
            headers = {"Idempotency-Key": buyer.key}
            answer = await self._ask("POST", "/v1/checkout", json=buyer.body, headers=headers)
            if answer and answer.status == 202:
                self._answered_at = time.monotonic()
                buyer.order_ids.add(answer.body["order_id"])
                buyer.accept_seconds = buyer.accept_seconds or self._answered_at - started
                return
            last = _problem(answer) if answer else NO_ANSWER
            if answer and answer.status < 500:
                self._answered_at = time.monotonic()
                buyer.refusals.append(last)
                return
            await asyncio.sleep(_pause_seconds(attempt, answer))

    async def _follow(self, buyer: Buyer) -> None:
        path = f"/v1/orders/{min(buyer.order_ids)}"
        for attempt in count():
            if self._is_hopeless():
                return
            answer = await self._ask("GET", path, params={"wait": str(POLL_WAIT_SECONDS)})
            if answer and answer.status == 200:
                buyer.status = answer.body["status"]
                if buyer.status in FINAL:
                    self._answered_at = time.monotonic()
                    return
            elif answer and answer.status == 404:  # an order that was accepted: the verdict will say so
                return
            # Also after an answer: an instance where too many wait already answers at once.
            await asyncio.sleep(_pause_seconds(attempt, answer))

    async def _ask(self, method: str, path: str, **request: Any) -> _Answer | None:
        """What the engine answers; None if nothing that could be read came back."""
        try:
            async with self._http.request(method, path, **request) as response:
                body = await response.json(content_type=None)
                after = response.headers.get("Retry-After", "")
                return _Answer(
                    response.status,
                    body if isinstance(body, dict) else {},
                    float(after) if after.isascii() and after.isdigit() else 0.0,
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    def _is_hopeless(self) -> bool:
        return time.monotonic() - self._answered_at > PATIENCE_SECONDS


def _problem(answer: _Answer) -> str:
    """The NAME of a problem's type, /problems/NAME."""
    return str(answer.body.get("type", "")).rpartition("/")[2] or f"status-{answer.status}"


def _pause_seconds(attempt: int, answer: _Answer | None) -> float:
    """Longer each time, at least what was asked for, and not the same for all, who would come back together."""
    at_least = max(answer.retry_after if answer else 0.0, 0.1 * (1 << min(attempt, 5)))
    return min(PAUSE_SECONDS_MAX, at_least * random.uniform(1, 1.5))
