"""What the Pub/Sub emulator knows: topics, subscriptions and unacknowledged messages, kept in a journal.

The journal is append-only and written without fsync: it survives the end of the process, not that of the machine. It is
read and rewritten with what is still open when the emulator starts.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from google.pubsub_v1 import types

SubscriptionPb: Any = types.Subscription.pb()


@dataclass(frozen=True)
class Message:
    """A published message."""

    id: str
    published_at: float  # seconds since the epoch
    data: bytes
    attributes: dict[str, str]
    ordering_key: str

    def to_json(self) -> list[Any]:
        """The message as the journal holds it."""
        return [self.id, self.published_at, base64.b64encode(self.data).decode(), self.attributes, self.ordering_key]

    def published(self) -> str:
        """When, as RFC 3339."""
        return datetime.fromtimestamp(self.published_at, UTC).isoformat().replace("+00:00", "Z")

    def to_push(self, subscription: str, attempt: int) -> dict[str, Any]:
        """The body of a push request; fields twice, as Pub/Sub has them."""
        published = self.published()
        fields: dict[str, Any] = {
            "data": base64.b64encode(self.data).decode(),
            "messageId": self.id,
            "message_id": self.id,
            "publishTime": published,
            "publish_time": published,
        }
        if self.attributes:
            fields["attributes"] = self.attributes
        if self.ordering_key:
            fields["orderingKey"] = self.ordering_key
        return {"message": fields, "subscription": subscription, "deliveryAttempt": attempt}

    @staticmethod
    def from_json(fields: list[Any]) -> Message:
        """The message in a line of the journal."""
        return Message(fields[0], fields[1], base64.b64decode(fields[2]), fields[3], fields[4])


@dataclass
class Subscription:
    """A subscription and what it has not acknowledged, by message id."""

    config: Any
    unacked: dict[str, Message] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)


class Store:
    """Topics and subscriptions by name; every change goes through here, and into the journal."""

    def __init__(self, journal: Path | None) -> None:
        self.topics: set[str] = set()
        self.subscriptions: dict[str, Subscription] = {}
        self._last_id = 0
        self._journal: TextIO | None = None
        if journal:
            if journal.exists():
                self._replay(journal)
            self._compact(journal)
            self._journal = journal.open("a")

    def add_topic(self, name: str) -> None:
        """Create a topic."""
        self.topics.add(name)
        self._write({"topic": name})

    def remove_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions stay and receive nothing more."""
        self.topics.discard(name)
        self._write({"no_topic": name})

    def put_subscription(self, config: Any) -> Subscription:
        """Create a subscription, or change what it is configured to do."""
        subscription = self.subscriptions.setdefault(config.name, Subscription(config))
        subscription.config = config
        self._write({"subscription": base64.b64encode(config.SerializeToString()).decode()})
        return subscription

    def remove_subscription(self, name: str) -> None:
        """Delete a subscription and its messages."""
        del self.subscriptions[name]
        self._write({"no_subscription": name})

    def publish(
        self, topic: str, published_at: float, data: bytes, attributes: dict[str, str], key: str
    ) -> tuple[Message, list[Subscription]]:
        """Keep a message for every subscription of a topic."""
        self._last_id += 1
        message = Message(str(self._last_id), published_at, data, attributes, key)
        receivers = [s for s in self.subscriptions.values() if s.config.topic == topic]
        for subscription in receivers:
            subscription.unacked[message.id] = message
        self._write({"publish": [topic, message.to_json()]})
        return message, receivers

    def ack(self, subscription: Subscription, message_id: str) -> None:
        """Forget a message that a subscription has done with; once more does nothing."""
        if subscription.unacked.pop(message_id, None):
            subscription.attempts.pop(message_id, None)
            self._write({"ack": [subscription.config.name, message_id]})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._journal:
            self._journal.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._journal.flush()

    def _replay(self, journal: Path) -> None:
        for line in journal.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the last line, of a process that was killed while it wrote
                continue
            self._apply(entry)

    def _apply(self, entry: dict[str, Any]) -> None:
        match entry:
            case {"last_id": last_id}:
                self._last_id = last_id
            case {"topic": name}:
                self.topics.add(name)
            case {"no_topic": name}:
                self.topics.discard(name)
            case {"subscription": encoded}:
                config = SubscriptionPb.FromString(base64.b64decode(encoded))
                self.subscriptions.setdefault(config.name, Subscription(config)).config = config
            case {"no_subscription": name}:
                self.subscriptions.pop(name, None)
            case {"publish": [topic, fields]}:
                message = Message.from_json(fields)
                self._last_id = max(self._last_id, int(message.id))
                for subscription in self.subscriptions.values():
                    if subscription.config.topic == topic:
                        subscription.unacked[message.id] = message
            case {"keep": [name, fields]}:
                message = Message.from_json(fields)
                self.subscriptions[name].unacked[message.id] = message
            case {"ack": [name, message_id]}:
                if name in self.subscriptions:
                    self.subscriptions[name].unacked.pop(message_id, None)

    def _compact(self, journal: Path) -> None:
        fresh = journal.with_suffix(".new")
        fresh.write_text("".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in self._entries()))
        os.replace(fresh, journal)

    def _entries(self) -> Iterator[dict[str, Any]]:
        yield {"last_id": self._last_id}
        for topic in self.topics:
            yield {"topic": topic}
        for subscription in self.subscriptions.values():
            yield {"subscription": base64.b64encode(subscription.config.SerializeToString()).decode()}
            for message in subscription.unacked.values():
                yield {"keep": [subscription.config.name, message.to_json()]}
