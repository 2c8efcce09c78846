"""What the Pub/Sub emulator knows: topics, subscriptions and unacknowledged messages, kept in a journal."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from google.protobuf import json_format
from google.pubsub_v1 import types

from local.pubsub_journal import Journal
from local.pubsub_limits import BACKLOG_BYTES_MAX, BACKLOG_MESSAGES_MAX

SubscriptionPb: Any = types.Subscription.pb()
MessagePb: Any = types.PubsubMessage.pb()


class BacklogFull(Exception):
    """A subscription has no room for more messages; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Message:
    """A published message, put into JSON once: the journal and every push carry these same bytes."""

    id: str
    body: bytes

    @staticmethod
    def of(message_id: str, published: str, content: Any) -> Message:
        """The message of a Publish call's entry; fields stand twice, as Pub/Sub has them in push requests."""
        fields: dict[str, Any] = {
            "data": base64.b64encode(content.data).decode(),
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        }
        if content.attributes:
            fields["attributes"] = dict(content.attributes)
        if content.ordering_key:
            fields["orderingKey"] = content.ordering_key
        # A copy, because what orjson returns holds on to several kilobytes for as long as it lives.
        return Message(message_id, bytes(memoryview(orjson.dumps(fields))))

    @property
    def ordering_key(self) -> str:
        """Its ordering key, or nothing."""
        return str(orjson.loads(self.body).get("orderingKey", ""))

    def to_pb(self) -> Any:
        """The message as the API's calls carry it."""
        fields = orjson.loads(self.body)
        del fields["message_id"], fields["publish_time"]
        return json_format.ParseDict(fields, MessagePb())

    def to_push(self, subscription: str, attempt: int) -> bytes:
        """The body of a push request."""
        return b'{"message":%b,"subscription":"%b","deliveryAttempt":%d}' % (self.body, subscription.encode(), attempt)


@dataclass
class Subscription:
    """A subscription and what it has not acknowledged, by message id, in the order of publishing."""

    config: Any
    unacked: dict[str, Message] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def check_room(self, count: int, size: int) -> None:
        """Refuse what would be more than a backlog may hold.

        Raises:
            BacklogFull: it would be.
        """
        if len(self.unacked) + count > BACKLOG_MESSAGES_MAX or self.size + size > BACKLOG_BYTES_MAX:
            raise BacklogFull(
                f"The backlog of {self.config.name} is full: {len(self.unacked)} messages with {self.size} bytes, of at"
                f" most {BACKLOG_MESSAGES_MAX} and {BACKLOG_BYTES_MAX}. Let its subscriber acknowledge them, or delete"
                " the subscription; then publish again."
            )

    def keep(self, message: Message) -> None:
        self.unacked[message.id] = message
        self.size += len(message.body)

    def drop(self, message_id: str) -> bool:
        """Forget a message; whether it was there."""
        if (message := self.unacked.pop(message_id, None)) is None:
            return False
        self.attempts.pop(message_id, None)
        self.size -= len(message.body)
        return True


class Store:
    """Topics and subscriptions by name; every change goes through here, and into the journal.

    A line of the journal says what happened, and to what; a message's line says who gets it, its id and its body.
    """

    def __init__(self, journal: Path | None) -> None:
        self.topics: set[str] = set()
        self.subscriptions: dict[str, Subscription] = {}
        self._last_id = 0
        self._journal = Journal(journal) if journal else None
        if self._journal:
            for line in self._journal.read():
                self._apply(line)
            self._journal.rewrite(self._lines())

    def add_topic(self, name: str) -> None:
        """Create a topic."""
        self._write(f"topic {name}".encode())
        self.topics.add(name)

    def remove_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions stay and receive nothing more."""
        self._write(f"no_topic {name}".encode())
        self.topics.discard(name)

    def put_subscription(self, config: Any) -> Subscription:
        """Create a subscription, or change what it is configured to do."""
        self._write(_subscription_line(config))
        subscription = self.subscriptions.setdefault(config.name, Subscription(config))
        subscription.config = config
        return subscription

    def remove_subscription(self, name: str) -> None:
        """Delete a subscription and its messages."""
        self._write(f"no_subscription {name}".encode())
        del self.subscriptions[name]

    def publish(self, topic: str, contents: Iterable[Any]) -> tuple[list[Message], list[Subscription]]:
        """Keep a Publish call's messages for every subscription of a topic: all of them, or none.

        Raises:
            BacklogFull: a subscription has no room for them.
            OSError: the journal can't be written.
        """
        published = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        messages = [Message.of(str(n), published, content) for n, content in enumerate(contents, self._last_id + 1)]
        receivers = [each for each in self.subscriptions.values() if each.config.topic == topic]
        size = sum(len(message.body) for message in messages)
        for subscription in receivers:
            subscription.check_room(len(messages), size)
        names = ",".join(subscription.config.name for subscription in receivers)
        self._write(*(_message_line(names, message) for message in messages))
        self._last_id += len(messages)
        for subscription in receivers:
            for message in messages:
                subscription.keep(message)
        return messages, receivers

    def ack(self, subscription: Subscription, message_id: str) -> None:
        """Forget a message that a subscription has done with; once more does nothing."""
        if subscription.drop(message_id) and self._journal:
            self._journal.write_soon(f"ack {subscription.config.name} {message_id}".encode())

    def _write(self, *lines: bytes) -> None:
        if self._journal:
            if self._journal.has_outgrown():
                self._journal.rewrite(self._lines())
            self._journal.write(*lines)

    def _lines(self) -> Iterator[bytes]:
        """The journal of all this, without its history."""
        yield f"last_id {self._last_id}".encode()
        for topic in self.topics:
            yield f"topic {topic}".encode()
        for name, subscription in self.subscriptions.items():
            yield _subscription_line(subscription.config)
            for message in subscription.unacked.values():
                yield _message_line(name, message)

    def _apply(self, line: bytes) -> None:
        match line.split(b" ", 3):
            case [b"last_id", last_id]:
                self._last_id = int(last_id)
            case [b"topic", name]:
                self.topics.add(name.decode())
            case [b"no_topic", name]:
                self.topics.discard(name.decode())
            case [b"subscription", encoded]:
                config = SubscriptionPb.FromString(base64.b64decode(encoded))
                self.subscriptions.setdefault(config.name, Subscription(config)).config = config
            case [b"no_subscription", name]:
                self.subscriptions.pop(name.decode(), None)
            case [b"message", receivers, message_id, body]:
                self._last_id = max(self._last_id, int(message_id))
                message = Message(message_id.decode(), body)
                for receiver in filter(None, receivers.decode().split(",")):
                    self.subscriptions[receiver].keep(message)
            case [b"ack", name, message_id]:
                if subscription := self.subscriptions.get(name.decode()):
                    subscription.drop(message_id.decode())


def _subscription_line(config: Any) -> bytes:
    return b"subscription " + base64.b64encode(config.SerializeToString())


def _message_line(receivers: str, message: Message) -> bytes:
    return b"message %b %b %b" % (receivers.encode(), message.id.encode(), message.body)
