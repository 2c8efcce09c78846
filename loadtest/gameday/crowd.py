"""The crowd at work: every buyer sends, repeats, cancels, pays and follows his order, and all is written down.

Nobody here believes anything: whatever he was told before, a buyer asks on until he is told a final state.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence, Set
from contextlib import suppress
from itertools import count
from typing import Any

import aiohttp

from loadtest.gameday.buyers import Buyer
from loadtest.gameday.checker.records import Answer, Key
from loadtest.gameday.checker.states import NEXT, UNDECIDED
from loadtest.gameday.diary import Diary

ACCEPTED = 202
SENDING_MAX = 200  # calls under way that order or cancel …
FOLLOWING_MAX = 400  # … and that follow an order, so that whoever waits keeps nobody from sending
WAIT_SECONDS = 8
REQUEST_SECONDS = 20.0  # above the longest wait; whoever hears nothing until then asks again
PAUSE_SECONDS = (0.2, 4.0)  # between two tries: the first, and the longest
POLL_SECONDS = 1.0
AUTHENTICATE_TRIES_MAX = 20


class Crowd:
    """All buyers of a run; who has no final answer at `deadline` (seconds of the diary's clock) gives up."""

    def __init__(self, checkout_url: str, stripe_url: str, diary: Diary) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        connector = aiohttp.TCPConnector(limit=SENDING_MAX + FOLLOWING_MAX)
        self._diary = diary
        self._shop = aiohttp.ClientSession(checkout_url, connector=connector, timeout=timeout)
        self._bank = aiohttp.ClientSession(stripe_url, timeout=timeout)
        # whoever waits here has not asked yet, and his time has not begun
        self._sending, self._following = asyncio.Semaphore(SENDING_MAX), asyncio.Semaphore(FOLLOWING_MAX)
        self.deadline = float("inf")
        self.done = 0

    async def run(self, buyers: Sequence[Buyer]) -> None:
        """Until every buyer has his final answer, or has given up."""
        await asyncio.gather(*(self._live(buyer) for buyer in buyers))

    async def look_once_more(self, order_ids: dict[str, Key]) -> None:
        """Ask for each of these orders, when all is over."""
        await asyncio.gather(*(self._show(order_id, key, {}) for order_id, key in order_ids.items()))

    async def close(self) -> None:
        """Close all connections."""
        await self._shop.close()
        await self._bank.close()

    async def _live(self, buyer: Buyer) -> None:
        await asyncio.sleep(max(0.0, buyer.arrives_at - self._diary.now()))
        ids = set(await asyncio.gather(*(self._send(buyer) for _ in range(buyer.copies)))) - {None}
        await asyncio.gather(
            self._send_again(buyer, ids), *(self._own(buyer, order_id) for order_id in ids if order_id)
        )
        self.done += 1

    async def _own(self, buyer: Buyer, order_id: str) -> None:
        await asyncio.gather(self._follow(buyer, order_id), self._cancel(buyer, order_id))

    async def _send(self, buyer: Buyer) -> str | None:
        """Send the order until there is an answer; the order's id, if it was accepted."""
        for attempt in count():
            headers = {"Idempotency-Key": buyer.key[1]}
            answer, _ = await self._ask(
                self._sending, "checkout", buyer.key, "POST", "/v1/checkout", json=buyer.body, headers=headers
            )
            if answer.http == ACCEPTED:
                return answer.order_id
            if 0 < answer.http < 500 or self._is_over():
                return None
            await asyncio.sleep(_pause(attempt))
        raise AssertionError

    async def _send_again(self, buyer: Buyer, ids: Set[str | None]) -> None:
        """As a browser's back button does, whatever came of it the first time."""
        if buyer.again_after is None:
            return
        await asyncio.sleep(buyer.again_after)
        order_id = await self._send(buyer)
        if order_id and order_id not in ids:
            await self._own(buyer, order_id)

    async def _follow(self, buyer: Buyer, order_id: str) -> None:
        challenge: asyncio.Task[None] | None = None
        params = {"wait": str(WAIT_SECONDS)} if buyer.waits else {}
        while not self._is_over():
            answer, body = await self._show(order_id, buyer.key, params)
            if answer.http == 404 or (answer.status in NEXT and answer.status not in UNDECIDED):
                break
            if answer.status == "action_required" and challenge is None and buyer.challenge_answer:
                challenge = asyncio.create_task(self._authenticate(buyer, body["payment"]["client_secret"]))
            # also after an answer: an instance where too many wait already answers at once
            await asyncio.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
        if challenge:
            await challenge

    async def _cancel(self, buyer: Buyer, order_id: str) -> None:
        if buyer.cancels_after is None:
            return
        await asyncio.sleep(buyer.cancels_after)
        for attempt in count():
            path = f"/v1/orders/{order_id}/cancel"
            answer, _ = await self._ask(self._sending, "cancel", buyer.key, "POST", path, json={})
            if 0 < answer.http < 500 or self._is_over():
                return
            await asyncio.sleep(_pause(attempt))

    async def _authenticate(self, buyer: Buyer, client_secret: str) -> None:
        """Answer the bank's challenge; nobody is told anything here but the stand-in."""
        await asyncio.sleep(buyer.thinks)
        path = f"/_control/payment_intents/{client_secret.partition('_secret_')[0]}/authenticate"
        for attempt in range(AUTHENTICATE_TRIES_MAX):
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._bank.post(path, json={"outcome": buyer.challenge_answer}):
                    return
            await asyncio.sleep(_pause(attempt))

    async def _show(self, order_id: str, key: Key, params: dict[str, str]) -> tuple[Answer, dict[str, Any]]:
        path = f"/v1/orders/{order_id}"
        return await self._ask(self._following, "status", key, "GET", path, params=params)

    async def _ask(
        self, gate: asyncio.Semaphore, call: str, key: Key, method: str, path: str, **request: Any
    ) -> tuple[Answer, dict[str, Any]]:
        """Call checkout, and write down what it says, or that it says nothing that can be read."""
        http, body = 0, {}
        async with gate:
            began = self._diary.now()
            with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                async with self._shop.request(method, path, **request) as response:
                    body = await response.json(content_type=None)
                    http = response.status
        status = body.get("status") if 200 <= http < 300 else str(body.get("type", "")).rpartition("/")[2]
        answer = Answer(began, self._diary.now(), call, key, http, body.get("order_id"), status)
        self._diary.write(answer)
        return answer, body

    def _is_over(self) -> bool:
        return self._diary.now() > self.deadline


def _pause(attempt: int) -> float:
    """Longer each time, and not the same for all, who would come back together."""
    shortest, longest = PAUSE_SECONDS
    return min(longest, shortest * (1 << min(attempt, 10))) * random.uniform(0.5, 1.0)
