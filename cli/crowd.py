"""A crowd of simulated buyers: each sends an order (some twice at once), retries on the same key, and waits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

POLL_WAIT_SECONDS = 10
REQUEST_SECONDS = 40.0  # above the longest wait
ATTEMPTS_MAX = 200  # for each request, with pauses of at most RETRY_PAUSE_SECONDS_MAX: minutes of outage
RETRY_PAUSE_SECONDS_MAX = 2.0
FINAL = frozenset({"confirmed", "declined", "expired", "cancelled", "refunded", "sold_out", "rejected"})


@dataclass(frozen=True)
class Plan:
    """Who comes to buy what, drawn from a seed."""

    drop_id: str
    skus: tuple[str, ...]
    buyers: int
    duplicates: float
    max_quantity: int
    connections: int
    seed: int


@dataclass
class Buyer:
    """What one buyer sent, and what he was told; times in seconds of one monotonic clock."""

    key: str
    body: dict[str, Any]
    copies: int
    order_ids: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    accepted_at: float | None = None
    accept_seconds: float | None = None
    status: str | None = None
    decided_at: float | None = None


def draw_buyers(plan: Plan) -> list[Buyer]:
    """The same buyers for the same plan."""
    draw = random.Random(plan.seed)
    buyers = []
    for number in range(plan.buyers):
        line = {"sku": draw.choice(plan.skus), "quantity": draw.randint(1, plan.max_quantity)}
        body = {"drop_id": plan.drop_id, "customer": {"id": f"buyer-{plan.seed}-{number}"}, "items": [line]}
        copies = 2 if draw.random() < plan.duplicates else 1
        buyers.append(Buyer(f"sale-{plan.seed}-{number}", body, copies))
    return buyers


async def let_loose(url: str, plan: Plan, buyers: list[Buyer], tell: Callable[[], None]) -> None:
    """Run the crowd over `plan.connections` connections until every buyer has his answer; `tell` after each change."""
    gate = asyncio.Semaphore(plan.connections)
    connector = aiohttp.TCPConnector(limit=plan.connections + 50)  # some are left to those who poll
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as http:
        await asyncio.gather(*(_buy(http, gate, buyer, tell) for buyer in buyers))


async def _buy(http: aiohttp.ClientSession, gate: asyncio.Semaphore, buyer: Buyer, tell: Callable[[], None]) -> None:
    async with gate:
        await asyncio.gather(*(_send(http, buyer) for _ in range(buyer.copies)))
    tell()
    if buyer.order_ids:
        async with gate:
            await _await_decision(http, buyer)
        tell()


async def _send(http: aiohttp.ClientSession, buyer: Buyer) -> None:
    started = time.monotonic()
    headers = {"Idempotency-Key": buyer.key}
    for attempt in range(ATTEMPTS_MAX):
        try:
            async with http.post("/v1/checkout", json=buyer.body, headers=headers) as response:
                answer = await response.json(content_type=None)
                if response.status == 202:
                    buyer.order_ids.add(answer["order_id"])
                    buyer.accepted_at = buyer.accepted_at or started
                    buyer.accept_seconds = buyer.accept_seconds or time.monotonic() - started
                    return
                name = answer["type"].rpartition("/")[2] if isinstance(answer, dict) else f"status {response.status}"
                if response.status < 500:
                    buyer.refusals.append(name)
                    return
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            name = "no answer"
        await asyncio.sleep(min(RETRY_PAUSE_SECONDS_MAX, 0.1 * 2 ** min(attempt, 5)))
    buyer.refusals.append(name)


async def _await_decision(http: aiohttp.ClientSession, buyer: Buyer) -> None:
    path = f"/v1/orders/{min(buyer.order_ids)}"
    for attempt in range(ATTEMPTS_MAX):
        try:
            async with http.get(path, params={"wait": POLL_WAIT_SECONDS}) as response:
                if response.status == 200:
                    buyer.status = (await response.json())["status"]
                    if buyer.status in FINAL:
                        buyer.decided_at = time.monotonic()
                        return
                    continue
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            pass
        await asyncio.sleep(min(RETRY_PAUSE_SECONDS_MAX, 0.1 * 2 ** min(attempt, 5)))
