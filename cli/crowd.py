"""A crowd at work: each buyer sends an order (some twice at once), retries on the same key, pays, and waits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp

from cli.buyers import Answer, Buyer, Plan

POLL_WAIT_SECONDS = 10
REQUEST_SECONDS = 40.0  # above the longest wait
PAUSE_SECONDS_MAX = 10.0  # between two tries, whatever `Retry-After` says
# Reconcile looks for stuck orders once a minute, with growing pauses: after this long, and a hold's time, without an
# answer to anybody, nothing more will come.
PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 1.0  # between two looks of those who were sold out, at what has come back
VISITS_MAX = 10  # of one buyer; by then others have been faster for long enough
FINAL = frozenset({"confirmed", "declined", "expired", "cancelled", "refunded", "sold_out", "rejected"})
NO_ANSWER = "no-answer"
SOLD_OUT = "sold-out"


async def let_loose(
    url: str, plan: Plan, buyers: list[Buyer], tell: Callable[[], None], stripe_url: str | None = None
) -> None:
    """Run the crowd until every buyer has his answer, or nobody gets any more; `tell` after each change.

    `stripe_url` is the stand-in's, where buyers answer their banks' challenges; not needed when there are none.
    """
    connector = aiohttp.TCPConnector(limit=2 * plan.connections)  # a buyer may send two copies at the same moment
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        await _Crowd(http, url.rstrip("/"), plan, stripe_url, tell).run(buyers)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: dict[str, Any]
    retry_after: float


class _Crowd:
    """The buyers at work, so many at a time; they give up together, once the engine has been silent for too long."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, plan: Plan, stripe_url: str | None, tell: Callable[[], None]
    ) -> None:
        self._http, self._url, self._plan, self._stripe_url, self._tell = http, url, plan, stripe_url, tell
        self._gate = asyncio.Semaphore(plan.connections)
        self._sold_out: list[Buyer] = []  # at checkout, where nothing of theirs was stored
        self._answered_at = time.monotonic()

    async def run(self, buyers: list[Buyer]) -> None:
        """All come at once; those who were sold out look again for what comes back, as long as anybody is there."""
        async with asyncio.TaskGroup() as group:
            at_work = {group.create_task(self._buy(buyer)) for buyer in buyers}
            while at_work:
                _, at_work = await asyncio.wait(at_work, timeout=LOOK_SECONDS)
                at_work |= {group.create_task(self._buy(buyer)) for buyer in await self._come_back()}

    async def _come_back(self) -> list[Buyer]:
        """As many of those who were sold out as find what they want."""
        if not self._sold_out:
            return []
        shown = await self._ask("GET", f"{self._url}/v1/drops/{self._plan.drop_id}")
        items = shown.body["items"] if shown and shown.status == 200 else []
        left = {item["sku"]: item["available"] for item in items}
        returned, others = [], []
        for buyer in self._sold_out:
            (line,) = buyer.body["items"]
            if line["quantity"] <= left.get(line["sku"], 0):
                left[line["sku"]] -= line["quantity"]
                returned.append(buyer)
            else:
                others.append(buyer)
        self._sold_out = others
        return returned

    async def _buy(self, buyer: Buyer) -> None:
        """Send the order, and follow it. The gate is fair: nobody's waiting keeps others from sending first."""
        buyer.visits += 1
        async with self._gate:
            await asyncio.gather(*(self._send(buyer) for _ in range(buyer.copies)))
        self._tell()
        if buyer.order_ids:
            async with self._gate:
                await self._follow(buyer, buyer.answer)
            if buyer.status == "action_required":  # he has walked away; he looks again when his time is over
                await asyncio.sleep(self._plan.hold_seconds)
                async with self._gate:
                    await self._follow(buyer, None)
            self._tell()
        elif set(buyer.refusals) == {SOLD_OUT} and buyer.visits < VISITS_MAX:
            self._sold_out.append(buyer)

    async def _send(self, buyer: Buyer) -> None:
        started = time.monotonic()
        last = NO_ANSWER
        for attempt in count():
            if self._is_hopeless():
                buyer.refusals.append(last)
                return
            headers = {"Idempotency-Key": buyer.key}
            answer = await self._ask("POST", f"{self._url}/v1/checkout", json=buyer.body, headers=headers)
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

    async def _follow(self, buyer: Buyer, answer_to_bank: Answer | None) -> None:
        """Look at the order until it is final; when the bank asks its question, answer it or walk away."""
        url = f"{self._url}/v1/orders/{min(buyer.order_ids)}"
        for attempt in count():
            if self._is_hopeless():
                return
            answer = await self._ask("GET", url, params={"wait": str(POLL_WAIT_SECONDS)})
            if answer and answer.status == 200:
                buyer.status = answer.body["status"]
                if buyer.status in FINAL:
                    self._answered_at = time.monotonic()
                    return
                if buyer.status == "action_required" and answer_to_bank == "abandon":
                    return
                if buyer.status == "action_required" and answer_to_bank:
                    await self._authenticate(answer.body["payment"]["client_secret"], answer_to_bank)
            elif answer and answer.status == 404:  # an order that was accepted: the verdict will say so
                return
            # Also after an answer: an instance where too many wait already answers at once.
            await asyncio.sleep(_pause_seconds(attempt, answer))

    async def _authenticate(self, client_secret: str, outcome: Answer) -> None:
        """Do at the stand-in what Stripe.js and the bank's page do in a browser; whoever is too late is refused."""
        payment_intent = client_secret.partition("_secret")[0]
        url = f"{self._stripe_url}/_control/payment_intents/{payment_intent}/authenticate"
        await self._ask("POST", url, json={"outcome": outcome})

    async def _ask(self, method: str, url: str, **request: Any) -> _Answer | None:
        """What is answered; None if nothing that could be read came back."""
        try:
            async with self._http.request(method, url, **request) as response:
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
        return time.monotonic() - self._answered_at > PATIENCE_SECONDS + self._plan.hold_seconds


def _problem(answer: _Answer) -> str:
    """The NAME of a problem's type, /problems/NAME."""
    return str(answer.body.get("type", "")).rpartition("/")[2] or f"status-{answer.status}"


def _pause_seconds(attempt: int, answer: _Answer | None) -> float:
    """Longer each time, at least what was asked for, and not the same for all, who would come back together."""
    at_least = max(answer.retry_after if answer else 0.0, 0.1 * (1 << min(attempt, 5)))
    return min(PAUSE_SECONDS_MAX, at_least * random.uniform(1, 1.5))
