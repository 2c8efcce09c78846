"""How the Pub/Sub emulator delivers: push requests and pulls, retries, dead letters, and faults drawn from a seed."""

from __future__ import annotations

import asyncio
import base64
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp

from local.pubsub_store import Message, Store, Subscription

PUSHES_MAX = 200  # push requests under way for each subscription
ACK_STATUSES = frozenset({102, 200, 201, 202, 204})
ACK_DEADLINE_SECONDS = 10.0  # Pub/Sub's own defaults
RETRY_SECONDS = (10.0, 600.0)
PULL_WAIT_SECONDS = 1.0  # a pull that finds nothing waits for so long


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as shares of deliveries (0 to 1); `delay` is the longest delay in seconds."""

    seed: int = 0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    drop_ack: float = 0.0

    @staticmethod
    def parse(text: str) -> Faults:
        """Read `seed=7,duplicate=0.3,delay=2.0,reorder=0.2,drop_ack=0.1`; what is left out does not happen.

        Raises:
            ValueError: an unknown name, or something that is no number in range.
        """
        values: dict[str, Any] = {}
        for pair in filter(None, text.split(",")):
            name, _, value = pair.partition("=")
            if name not in Faults.__dataclass_fields__:
                raise ValueError(f"unknown fault {name!r}; there are {', '.join(Faults.__dataclass_fields__)}")
            values[name] = int(value) if name == "seed" else float(value)
            if values[name] < 0 or (name not in ("seed", "delay") and values[name] > 1):
                raise ValueError(f"{name} must be a share from 0 to 1 (delay: seconds)")
        return Faults(**values)


class Deliveries:
    """Delivers one subscription's messages until it is closed."""

    def __init__(
        self,
        store: Store,
        subscription: Subscription,
        http: aiohttp.ClientSession,
        faults: Faults,
        dead_letter: Callable[[Subscription, Message], None],
    ) -> None:
        self._dead_letter = dead_letter
        self._store, self._subscription, self._http, self._faults = store, subscription, http, faults
        self._random = random.Random(f"{faults.seed}/{subscription.config.name}")
        self._ready: deque[str] = deque()
        self._arrived = asyncio.Event()
        self._leases: dict[str, asyncio.TimerHandle] = {}
        self._pushes: set[asyncio.Task[None]] = set()
        self._closed = False
        for message_id in list(subscription.unacked):
            self.offer(message_id)

    def offer(self, message_id: str) -> None:
        """Take a new message, late or twice if the faults say so."""
        late = self._random.random() < self._faults.reorder or (self._faults.delay > 0 and not self._faults.reorder)
        wait = self._random.random() * (self._faults.delay or 1.0) if late else 0.0
        copies = 2 if self._random.random() < self._faults.duplicate else 1
        for copy in range(copies):
            self._offer_later(message_id, wait + copy * self._random.random() * self._faults.delay)

    def configure(self) -> None:
        """Start pushing if there is an endpoint now."""
        self._start_pushes()

    def close(self) -> None:
        """Stop delivering."""
        self._closed = True
        for task in self._pushes:
            task.cancel()

    async def pull(self, limit: int) -> list[tuple[str, Message, int]]:
        """Lease up to `limit` messages for the ack deadline: ack id, message, delivery attempt."""
        if not self._ready:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), PULL_WAIT_SECONDS)
            except TimeoutError:
                return []
        pulled: list[tuple[str, Message, int]] = []
        while self._ready and len(pulled) < limit:
            message_id = self._ready.popleft()
            if (message := self._subscription.unacked.get(message_id)) and message_id not in self._leases:
                self.extend(message_id, self._ack_deadline())
                pulled.append((message_id, message, self._count_attempt(message_id)))
        return pulled

    def ack(self, message_id: str) -> None:
        """A puller is done with a message."""
        if lease := self._leases.pop(message_id, None):
            lease.cancel()
        self._store.ack(self._subscription, message_id)

    def extend(self, message_id: str, seconds: float) -> None:
        """Set a lease's deadline; 0 seconds give the message back."""
        if lease := self._leases.pop(message_id, None):
            lease.cancel()
        if seconds > 0:
            self._leases[message_id] = asyncio.get_running_loop().call_later(seconds, self._lapse, message_id)
        else:
            self._retry(message_id)

    def _lapse(self, message_id: str) -> None:
        del self._leases[message_id]
        self._retry(message_id)

    def _offer_later(self, message_id: str, seconds: float) -> None:
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._make_ready, message_id)
        else:
            self._make_ready(message_id)

    def _make_ready(self, message_id: str) -> None:
        if not self._closed:
            self._ready.append(message_id)
            self._arrived.set()
            self._start_pushes()

    def _start_pushes(self) -> None:
        endpoint = self._subscription.config.push_config.push_endpoint
        if endpoint and len(self._pushes) < min(PUSHES_MAX, len(self._ready)):
            task = asyncio.create_task(self._push_all())
            self._pushes.add(task)
            task.add_done_callback(self._pushes.discard)

    async def _push_all(self) -> None:
        while self._ready and self._subscription.config.push_config.push_endpoint:
            message_id = self._ready.popleft()
            if message := self._subscription.unacked.get(message_id):
                self._start_pushes()
                if await self._push(message):
                    self._store.ack(self._subscription, message_id)
                else:
                    self._retry(message_id)

    async def _push(self, message: Message) -> bool:
        config = self._subscription.config
        timeout = aiohttp.ClientTimeout(total=self._ack_deadline())
        body = _push_body(message, config.name, self._count_attempt(message.id))
        try:
            async with self._http.post(config.push_config.push_endpoint, json=body, timeout=timeout) as response:
                acked = response.status in ACK_STATUSES
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
        return acked and self._random.random() >= self._faults.drop_ack

    def _count_attempt(self, message_id: str) -> int:
        attempts = self._subscription.attempts
        attempts[message_id] = attempts.get(message_id, 0) + 1
        return attempts[message_id]

    def _retry(self, message_id: str) -> None:
        if (message := self._subscription.unacked.get(message_id)) is None:
            return
        attempts = self._subscription.attempts.get(message_id, 1)
        policy = self._subscription.config.dead_letter_policy
        if policy.dead_letter_topic and attempts >= (policy.max_delivery_attempts or 5):
            self._dead_letter(self._subscription, message)
            self._store.ack(self._subscription, message_id)
        else:
            self._offer_later(message_id, self._backoff(attempts))

    def _backoff(self, attempts: int) -> float:
        policy = self._subscription.config.retry_policy
        if not self._subscription.config.HasField("retry_policy"):
            return 0.1  # without a policy Pub/Sub delivers again as soon as it can
        shortest = policy.minimum_backoff.seconds + policy.minimum_backoff.nanos / 1e9
        longest = policy.maximum_backoff.seconds + policy.maximum_backoff.nanos / 1e9
        low, high = shortest or RETRY_SECONDS[0], longest or RETRY_SECONDS[1]
        return float(min(high, low * 2 ** min(attempts - 1, 10)))

    def _ack_deadline(self) -> float:
        return float(self._subscription.config.ack_deadline_seconds or ACK_DEADLINE_SECONDS)


def _push_body(message: Message, subscription: str, attempt: int) -> dict[str, Any]:
    published = datetime.fromtimestamp(message.published_at, UTC).isoformat().replace("+00:00", "Z")
    fields: dict[str, Any] = {
        "data": base64.b64encode(message.data).decode(),
        "messageId": message.id,
        "message_id": message.id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.attributes:
        fields["attributes"] = message.attributes
    if message.ordering_key:
        fields["orderingKey"] = message.ordering_key
    return {"message": fields, "subscription": subscription, "deliveryAttempt": attempt}
