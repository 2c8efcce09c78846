"""A subscriber of its own to the events that the shop is told."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime
from typing import Any

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Subscription

from loadtest.gameday.checker.records import Event
from local.recipes import PROJECT

TOPIC = f"projects/{PROJECT}/topics/order-events"
NAME = f"projects/{PROJECT}/subscriptions/gameday"
ACK_DEADLINE_SECONDS = 10
CALL_SECONDS = 10.0
PULL_MAX = 1_000
PAUSE_SECONDS = 0.3


class Subscriber:
    """Collects events from when it is started until it is stopped, through every outage of the queue."""

    def __init__(self, host: str) -> None:
        self.delivered: list[Event] = []
        self._seen: set[tuple[str, int]] = set()
        self._stopping = threading.Event()
        channel = grpc.insecure_channel(host, options=[("grpc.max_reconnect_backoff_ms", 200)])
        self._channel, self._client = channel, SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        wanted = Subscription(
            name=NAME, topic=TOPIC, enable_message_ordering=True, ack_deadline_seconds=ACK_DEADLINE_SECONDS
        )
        self._client.create_subscription(request=wanted, timeout=CALL_SECONDS)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def distinct(self) -> int:
        """How many different events have come."""
        return len(self._seen)

    def stop(self) -> None:
        """End; what came until now is in `delivered`."""
        self._stopping.set()
        self._thread.join()
        self._channel.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pulled = self._client.pull(subscription=NAME, max_messages=PULL_MAX, timeout=CALL_SECONDS)
                events = [parse(one.message.data) for one in pulled.received_messages]
                self.delivered += events
                self._seen.update((event.order_id, event.seq) for event in events)
                if ids := [one.ack_id for one in pulled.received_messages]:
                    self._client.acknowledge(subscription=NAME, ack_ids=ids, timeout=CALL_SECONDS)
            except GoogleAPICallError:
                time.sleep(PAUSE_SECONDS)


def parse(data: bytes) -> Event:
    """An event as it is sent. Whatever comes again has to be the same, but for the payment, which is shown as it stands
    when it is sent."""
    event: dict[str, Any] = json.loads(data)
    at = datetime.fromisoformat(event["occurred_at"]).timestamp()
    event["order"].pop("payment", None)
    return Event(event["order"]["order_id"], event["seq"], event["type"], at, json.dumps(event, sort_keys=True))
