"""How the Pub/Sub emulator delivers: push requests and pulls, retries, ordering keys and dead letters."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from local.pubsub_faults import Faults
from local.pubsub_limits import (
    ACK_DEADLINE_RANGE,
    DELIVERY_ATTEMPTS_RANGE,
    DUPLICATES_MAX,
    PULL_BYTES_MAX,
    PULL_MESSAGES_MAX,
    PULL_SECONDS,
    PUSHES_MAX,
    RETRY_AT_ONCE_SECONDS,
    RETRY_RANGE,
)
from local.pubsub_push import Endpoint
from local.pubsub_store import Message, Store, Subscription

ACK_STATUSES = frozenset({102, 200, 201, 202, 204})


class Delivery(NamedTuple):
    """A message on its way, or its duplicate: what becomes of the message, the duplicate doesn't decide.

    A delivery is in one place at a time: behind others of its ordering key, late, ready, or under way.
    """

    message: Message
    lane: str  # its ordering key, if the subscription keeps the order; else nothing
    is_duplicate: bool
    after_seconds: float  # how late the faults make it


class Deliveries:
    """Delivers one subscription's messages until it is closed."""

    def __init__(
        self,
        store: Store,
        subscription: Subscription,
        faults: Faults,
        dead_letter: Callable[[Subscription, Message], bool],
    ) -> None:
        self._store, self._subscription, self._faults, self._dead_letter = store, subscription, faults, dead_letter
        self._lanes: dict[str, deque[Delivery]] = {}  # of each key that is busy, who comes next
        self._ready: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._leases: dict[str, tuple[asyncio.TimerHandle, Delivery]] = {}
        self._endpoint: Endpoint | None = None
        self._pushes = self._duplicates = 0
        self._is_closed = False
        self.offer(subscription.unacked.values())
        self.configure()

    def offer(self, messages: Iterable[Message]) -> None:
        """Take new messages, late or twice if the faults say so."""
        is_ordered = self._subscription.config.enable_message_ordering
        for message in messages:
            lane = message.ordering_key if is_ordered else ""
            first, *duplicates = self._faults.offers(self._key(message))
            self._line_up(Delivery(message, lane, False, first))
            for seconds in duplicates:
                if self._duplicates < DUPLICATES_MAX:
                    self._duplicates += 1
                    self._line_up(Delivery(message, lane, True, seconds))
        self._start_pushes()

    def configure(self) -> None:
        """Push to where the subscription says now, or leave its messages to be pulled."""
        url = self._subscription.config.push_config.push_endpoint
        if self._endpoint and self._endpoint.url != url:
            self._endpoint.close()
            self._endpoint = None
        if url and not self._endpoint:
            self._endpoint = Endpoint(url)
        self._start_pushes()

    def close(self) -> None:
        """Stop delivering."""
        self._is_closed = True
        if self._endpoint:
            self._endpoint.close()
            self._endpoint = None
        for timer, _ in self._leases.values():
            timer.cancel()

    async def pull(self, limit: int) -> list[tuple[Message, int]]:
        """Lease up to `limit` messages for the ack deadline, each with the number of its delivery attempt."""
        if not self._ready:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), PULL_SECONDS)
            except TimeoutError:
                return []
        pulled: list[tuple[Message, int]] = []
        size, limit = 0, min(limit, PULL_MESSAGES_MAX)
        while len(pulled) < limit and (delivery := self._next()):
            size += len(delivery.message.body)
            if pulled and size > PULL_BYTES_MAX:
                self._ready.appendleft(delivery)
                break
            pulled.append((delivery.message, self._start_attempt(delivery)))
            if delivery.is_duplicate:
                self._end(delivery)
            else:
                self._lease(delivery, self._ack_deadline())
        return pulled

    def ack(self, message_id: str) -> None:
        """A puller is done with a message; if the faults lose that, its lease runs out."""
        message = self._subscription.unacked.get(message_id)
        attempt = self._subscription.attempts.get(message_id, 0)
        if message and not self._faults.drops_ack(self._key(message), attempt):
            delivery = self._end_lease(message_id)
            self._store.ack(self._subscription, message_id)
            if delivery:
                self._end(delivery)
                self._start_pushes()

    def extend(self, message_id: str, seconds: float) -> None:
        """Set a lease's deadline; 0 seconds give the message back. Without a lease there is nothing to do."""
        if delivery := self._end_lease(message_id):
            if seconds > 0:
                self._lease(delivery, seconds)
            else:
                self._retry(delivery)
                self._start_pushes()

    def _lease(self, delivery: Delivery, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self.extend, delivery.message.id, 0.0)
        self._leases[delivery.message.id] = timer, delivery

    def _end_lease(self, message_id: str) -> Delivery | None:
        timer, delivery = self._leases.pop(message_id, (None, None))
        if timer:
            timer.cancel()
        return delivery

    def _line_up(self, delivery: Delivery) -> None:
        """Let a delivery go, unless one of the same ordering key is on its way."""
        if delivery.lane in self._lanes:
            self._lanes[delivery.lane].append(delivery)
            return
        if delivery.lane:
            self._lanes[delivery.lane] = deque()
        self._make_ready(delivery, delivery.after_seconds)

    def _end(self, delivery: Delivery) -> None:
        """A delivery is over, and the next one of its ordering key may go."""
        self._duplicates -= delivery.is_duplicate
        if delivery.lane:
            if waiting := self._lanes[delivery.lane]:
                following = waiting.popleft()
                self._make_ready(following, following.after_seconds)
            else:
                del self._lanes[delivery.lane]

    def _make_ready(self, delivery: Delivery, after_seconds: float) -> None:
        if after_seconds > 0:
            asyncio.get_running_loop().call_later(after_seconds, self._come_late, delivery)
        else:
            self._ready.append(delivery)
            self._arrived.set()

    def _come_late(self, delivery: Delivery) -> None:
        self._make_ready(delivery, 0.0)
        self._start_pushes()

    def _next(self) -> Delivery | None:
        """Who is ready, and wasn't acknowledged meanwhile."""
        while self._ready:
            delivery = self._ready.popleft()
            if delivery.is_duplicate or delivery.message.id in self._subscription.unacked:
                return delivery
            self._end(delivery)
        return None

    def _start_pushes(self) -> None:
        """Push all that is ready at once, so that no message waits for another's slow answer."""
        while self._endpoint and self._pushes < PUSHES_MAX and (delivery := self._next()):
            attempt = self._start_attempt(delivery)
            body = delivery.message.to_push(self._subscription.config.name, attempt)
            self._pushes += 1
            self._endpoint.post(body, self._ack_deadline(), partial(self._end_push, delivery, attempt))

    def _end_push(self, delivery: Delivery, attempt: int, status: int | None) -> None:
        self._pushes -= 1
        if self._is_closed:
            return
        if delivery.is_duplicate:
            self._end(delivery)
        elif status in ACK_STATUSES and not self._faults.drops_ack(self._key(delivery.message), attempt):
            self._store.ack(self._subscription, delivery.message.id)
            self._end(delivery)
        else:
            self._retry(delivery)
        self._start_pushes()

    def _start_attempt(self, delivery: Delivery) -> int:
        """The number of this delivery attempt; a duplicate doesn't count."""
        attempts = self._subscription.attempts
        attempt = attempts.get(delivery.message.id, 0) + (not delivery.is_duplicate)
        if not delivery.is_duplicate:
            attempts[delivery.message.id] = attempt
        return max(1, attempt)

    def _retry(self, delivery: Delivery) -> None:
        """Deliver a message again after a while, or give up on it; later ones of its ordering key wait for that."""
        message = delivery.message
        if message.id not in self._subscription.unacked:
            self._end(delivery)
            return
        attempts = self._subscription.attempts[message.id]
        policy = self._subscription.config.dead_letter_policy
        is_last = policy.dead_letter_topic and attempts >= (policy.max_delivery_attempts or DELIVERY_ATTEMPTS_RANGE[0])
        if is_last and self._dead_letter(self._subscription, message):
            self._store.ack(self._subscription, message.id)
            self._end(delivery)
        else:
            self._make_ready(delivery, self._backoff(attempts))

    def _backoff(self, attempts: int) -> float:
        if not self._subscription.config.HasField("retry_policy"):
            return RETRY_AT_ONCE_SECONDS
        policy = self._subscription.config.retry_policy
        shortest = policy.minimum_backoff.seconds + policy.minimum_backoff.nanos / 1e9
        longest = policy.maximum_backoff.seconds + policy.maximum_backoff.nanos / 1e9
        low, high = shortest or RETRY_RANGE[0], longest or RETRY_RANGE[1]
        return float(min(high, low * 2 ** min(attempts - 1, 10)))

    def _ack_deadline(self) -> float:
        return float(self._subscription.config.ack_deadline_seconds or ACK_DEADLINE_RANGE[0])

    def _key(self, message: Message) -> str:
        return f"{self._subscription.config.name}/{message.id}"
