"""Delivers the Stripe stand-in's events: signed, again until the receiver takes them, and with faults."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import aiohttp

from local.stripe_faults import Faults
from local.stripe_records import Event
from local.stripe_store import Store

DELIVERIES_MAX = 20  # under way at once: one machine's receiver is not to be flooded
ATTEMPTS_MAX = 12  # about two minutes, in which a part of the engine comes back; Stripe itself tries for three days
SHORTEST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 20.0
ANSWER_SECONDS = 10.0  # a receiver that takes longer has failed
_DUPLICATE = (
    0  # in place of an attempt's number: sent once, whatever becomes of it; the first copy alone is tried again
)


def sign(payload: str, secret: str, at: int) -> str:
    """The header Stripe-Signature for a payload sent at `at` (seconds since the epoch)."""
    digest = hmac.new(secret.encode(), f"{at}.{payload}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Webhooks:
    """Sends every event of a store to one URL, those that were waiting first."""

    def __init__(
        self, store: Store, http: aiohttp.ClientSession, url: str, secret: str, faults: Callable[[], Faults]
    ) -> None:
        self._store, self._http, self._url, self._secret, self._faults = store, http, url, secret, faults
        self._ready: asyncio.Queue[tuple[Event, int]] = asyncio.Queue()  # no longer than what waits in the store
        self._workers = [asyncio.create_task(self._work()) for _ in range(DELIVERIES_MAX)]
        for event in list(store.waiting_events.values()):
            self._offer(event)
        store.tell = self._offer

    def close(self) -> None:
        """Stop delivering; what waits stays in the store."""
        self._store.tell = None
        for worker in self._workers:
            worker.cancel()

    def _offer(self, event: Event) -> None:
        deliveries = self._faults().deliveries(event.id)
        for number, seconds in enumerate(deliveries):
            self._later(seconds, event, _DUPLICATE if number else 1)
        if not deliveries:
            self._store.forget_event(event)

    def _later(self, seconds: float, event: Event, attempt: int) -> None:
        asyncio.get_running_loop().call_later(seconds, self._ready.put_nowait, (event, attempt))

    async def _work(self) -> None:
        while True:
            event, attempt = await self._ready.get()
            is_taken = await self._post(event)
            if attempt == _DUPLICATE:
                continue
            if is_taken or attempt == ATTEMPTS_MAX:
                self._store.forget_event(event)
            else:
                pause = min(LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * 2 ** (attempt - 1))
                self._later(pause, event, attempt + 1)

    async def _post(self, event: Event) -> bool:
        payload = json.dumps(event.render(), indent=2)
        # Signed for the real time: a receiver compares it with its own clock, not with the stand-in's.
        signature = sign(payload, self._secret, int(time.time()))
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with self._http.post(
                self._url, data=payload, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
