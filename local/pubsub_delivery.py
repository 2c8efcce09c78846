"""How the Pub/Sub emulator delivers: push requests and pulls, retries, dead letters, and faults drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from local.pubsub_store import Message, Store, Subscription

PUSHES_MAX = 200  # push requests under way for each subscription
ACK_STATUSES = frozenset({102, 200, 201, 202, 204})
ACK_DEADLINE_SECONDS = 10.0  # Pub/Sub's own defaults
RETRY_SECONDS = (10.0, 600.0)
DELIVERY_ATTEMPTS = 5
PULL_WAIT_SECONDS = 1.0  # a pull that finds nothing waits for so long
PULL_MAX = 1_000  # messages in one answer, as Pub/Sub has it
DELAY_MAX = 600.0  # seconds; longer than any test waits


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as shares of deliveries (0 to 1); `delay` is the longest delay in seconds.

    What happens to a delivery is drawn from the seed and its message alone: the same whoever is faster this time.
    """

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
            if name != "seed" and not 0 <= values[name] <= (DELAY_MAX if name == "delay" else 1):
                raise ValueError(f"{name} must be a share from 0 to 1 (delay: seconds, at most {DELAY_MAX:.0f})")
        return Faults(**values)

    def offers(self, key: str) -> list[float]:
        """In how many seconds to deliver a message, and its duplicate if it has one."""
        if not (self.duplicate or self.delay or self.reorder):
            return [0.0]
        draw = random.Random(f"{self.seed}/{key}")
        # With `reorder` only its share is late, and is overtaken by the rest; without, everything is late.
        is_late = draw.random() < self.reorder or (self.delay > 0 and not self.reorder)
        first = draw.random() * (self.delay or 1.0) if is_late else 0.0
        is_twice, later = draw.random() < self.duplicate, draw.random() * self.delay
        return [first, first + later] if is_twice else [first]

    def drops_ack(self, key: str, attempt: int) -> bool:
        """Whether the answer to this delivery gets lost."""
        return self.drop_ack > 0 and random.Random(f"{self.seed}/{key}/{attempt}").random() < self.drop_ack


class Deliveries:
    """Delivers one subscription's messages until it is closed."""

    def __init__(
        self,
        store: Store,
        subscription: Subscription,
        http: aiohttp.ClientSession,
        faults: Faults,
        dead_letter: Callable[[Subscription, Message], bool],
    ) -> None:
        self._dead_letter = dead_letter
        self._store, self._subscription, self._http, self._faults = store, subscription, http, faults
        self._ready: deque[tuple[Message, bool]] = deque()  # with whether it is a duplicate
        self._arrived = asyncio.Event()
        self._leases: dict[str, asyncio.TimerHandle] = {}
        self._pushes: set[asyncio.Task[None]] = set()
        self._closed = False
        for message in list(subscription.unacked.values()):
            self.offer(message)

    def offer(self, message: Message) -> None:
        """Take a new message, late or twice if the faults say so."""
        for number, seconds in enumerate(self._faults.offers(self._key(message))):
            self._make_ready_later(message, seconds, is_duplicate=number > 0)

    def configure(self) -> None:
        """Start pushing if there is an endpoint now."""
        self._start_pushes()

    def close(self) -> None:
        """Stop delivering."""
        self._closed = True
        for task in self._pushes:
            task.cancel()
        for lease in self._leases.values():
            lease.cancel()

    async def pull(self, limit: int) -> list[tuple[str, Message, int]]:
        """Lease up to `limit` messages for the ack deadline: ack id, message, delivery attempt."""
        if not self._ready:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), PULL_WAIT_SECONDS)
            except TimeoutError:
                return []
        pulled: list[tuple[str, Message, int]] = []
        while self._ready and len(pulled) < min(limit, PULL_MAX):
            message, is_duplicate = self._ready.popleft()
            if is_duplicate:
                pulled.append((message.id, message, self._attempt(message)))
            elif message.id in self._subscription.unacked and message.id not in self._leases:
                self._lease(message.id, self._ack_deadline())
                pulled.append((message.id, message, self._count_attempt(message)))
        return pulled

    def ack(self, message_id: str) -> None:
        """A puller is done with a message; if the faults lose that, its lease runs out."""
        message = self._subscription.unacked.get(message_id)
        if message and not self._faults.drops_ack(self._key(message), self._attempt(message)):
            self._end_lease(message_id)
            self._store.ack(self._subscription, message_id)

    def extend(self, message_id: str, seconds: float) -> None:
        """Set a lease's deadline; 0 seconds give the message back. Without a lease there is nothing to do."""
        if self._end_lease(message_id):
            if seconds > 0:
                self._lease(message_id, seconds)
            else:
                self._retry(message_id)

    def _lease(self, message_id: str, seconds: float) -> None:
        self._leases[message_id] = asyncio.get_running_loop().call_later(seconds, self._lapse, message_id)

    def _end_lease(self, message_id: str) -> bool:
        if lease := self._leases.pop(message_id, None):
            lease.cancel()
        return lease is not None

    def _lapse(self, message_id: str) -> None:
        del self._leases[message_id]
        self._retry(message_id)

    def _make_ready_later(self, message: Message, seconds: float, *, is_duplicate: bool = False) -> None:
        if seconds > 0:
            asyncio.get_running_loop().call_later(seconds, self._make_ready, message, is_duplicate)
        else:
            self._make_ready(message, is_duplicate)

    def _make_ready(self, message: Message, is_duplicate: bool) -> None:
        if not self._closed:
            self._ready.append((message, is_duplicate))
            self._arrived.set()
            self._start_pushes()

    def _start_pushes(self) -> None:
        """A task for each message that is ready, so that none waits for another's slow answer."""
        while self._ready and len(self._pushes) < PUSHES_MAX and not self._closed:
            if not self._subscription.config.push_config.push_endpoint:
                return
            message, is_duplicate = self._ready.popleft()
            if is_duplicate or message.id in self._subscription.unacked:
                task = asyncio.create_task(self._push(message, is_duplicate))
                self._pushes.add(task)
                task.add_done_callback(self._end_push)

    def _end_push(self, task: asyncio.Task[None]) -> None:
        self._pushes.discard(task)
        self._start_pushes()

    async def _push(self, message: Message, is_duplicate: bool) -> None:
        """Deliver once; what becomes of the message is decided by its first copy, never by a duplicate."""
        if is_duplicate:
            await self._post(message, self._attempt(message))
            return
        attempt = self._count_attempt(message)
        acked = await self._post(message, attempt)
        if acked and not self._faults.drops_ack(self._key(message), attempt):
            self._store.ack(self._subscription, message.id)
        else:
            self._retry(message.id)

    async def _post(self, message: Message, attempt: int) -> bool:
        config = self._subscription.config
        timeout = aiohttp.ClientTimeout(total=self._ack_deadline())
        body = message.to_push(config.name, attempt)
        try:
            # A redirect is no ack, and isn't followed.
            async with self._http.post(
                config.push_config.push_endpoint, json=body, timeout=timeout, allow_redirects=False
            ) as response:
                return response.status in ACK_STATUSES
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _key(self, message: Message) -> str:
        return f"{self._subscription.config.name}/{message.id}"

    def _attempt(self, message: Message) -> int:
        return max(1, self._subscription.attempts.get(message.id, 0))

    def _count_attempt(self, message: Message) -> int:
        attempts = self._subscription.attempts
        attempts[message.id] = attempts.get(message.id, 0) + 1
        return attempts[message.id]

    def _retry(self, message_id: str) -> None:
        if (message := self._subscription.unacked.get(message_id)) is None:
            return
        attempts = self._subscription.attempts.get(message_id, 1)
        policy = self._subscription.config.dead_letter_policy
        is_last = policy.dead_letter_topic and attempts >= (policy.max_delivery_attempts or DELIVERY_ATTEMPTS)
        if is_last and self._dead_letter(self._subscription, message):
            self._store.ack(self._subscription, message_id)
        else:
            self._make_ready_later(message, self._backoff(attempts))

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
