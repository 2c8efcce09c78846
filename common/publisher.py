"""Publish to Pub/Sub, one call for many messages. The client is built on first use, after the fork."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import orjson

from common.breaker import Breaker
from common.pubsub import connect
from common.settings import (
    HEALTH_SECONDS,
    PUBLISH_BATCH_BYTES_MAX,
    PUBLISH_BATCH_MAX,
    PUBLISH_RETRY_SECONDS,
    PUBLISH_SECONDS,
)

if TYPE_CHECKING:
    from google.pubsub_v1 import PublisherAsyncClient

_SETTLED = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.SHUTDOWN)  # a probe shuts a dead channel


class PublishFailed(Exception):
    """Pub/Sub did not take the message in time. It may have it nevertheless; it may be published again."""


@dataclass(frozen=True)
class Message:
    """What is published: data, string attributes, and the key of those that are to be delivered in their order."""

    data: bytes
    attributes: dict[str, str]
    ordering_key: str = ""

    @staticmethod
    def of(document: Any, attributes: dict[str, str], ordering_key: str = "") -> Message:
        """A message that carries a document as JSON."""
        return Message(orjson.dumps(document), attributes, ordering_key)


class Publisher:
    """Publishes to one topic of a project. Use it from one event loop only."""

    def __init__(self, project: str, topic: str, emulator_host: str | None) -> None:
        self._topic = f"projects/{project}/topics/{topic}"
        self._emulator_host = emulator_host
        self._client: PublisherAsyncClient | None = None
        self._channel: grpc.aio.Channel | None = None
        self._first: Message | None = None  # of the latest call
        self._breaker = Breaker("Pub/Sub", self._probe)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages, in as few calls as Pub/Sub's limits allow.

        Raises:
            PublishFailed: a call was not answered within PUBLISH_SECONDS, or Pub/Sub is known to be away.
        """
        self._first = messages[0]
        if await self._breaker.is_open():
            raise PublishFailed("Pub/Sub did not answer a moment ago")
        try:
            for batch in _batches(messages):
                await self._send(batch)
        except Exception as error:  # the client raises its own errors, grpc's and asyncio's
            self._breaker.trip(type(error).__name__)
            raise PublishFailed(type(error).__name__) from error

    async def reachable(self) -> bool:
        """Whether a connection to Pub/Sub stands, or can be made within HEALTH_SECONDS."""
        self._open()
        channel = self._channel
        assert channel is not None
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                while (state := channel.get_state(try_to_connect=True)) not in _SETTLED:
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        return state == grpc.ChannelConnectivity.READY

    async def close(self, grace_seconds: float | None = None) -> None:
        """Close the connection; calls under way have `grace_seconds` to end."""
        if self._channel is not None:
            channel, self._channel, self._client = self._channel, None, None
            await channel.close(grace_seconds)

    async def _send(self, batch: Sequence[Message]) -> None:
        """One Publish call; a passing error is tried again within PUBLISH_SECONDS."""
        from google.api_core.exceptions import ServiceUnavailable
        from google.api_core.retry import AsyncRetry, if_exception_type
        from google.pubsub_v1 import PublishRequest

        request = PublishRequest.pb()(topic=self._topic)
        for message in batch:
            request.messages.add(data=message.data, attributes=message.attributes, ordering_key=message.ordering_key)
        retry = AsyncRetry(
            if_exception_type(ServiceUnavailable),
            initial=PUBLISH_RETRY_SECONDS,
            maximum=PUBLISH_SECONDS,
            timeout=PUBLISH_SECONDS,
        )
        await self._open().publish(request=PublishRequest.wrap(request), timeout=PUBLISH_SECONDS, retry=retry)

    async def _probe(self) -> None:
        """Publish a message (again) over a new connection: the old one may be dead and not know it.

        It is the first one of its call: of an ordering key, a later one must not be seen before it.
        """
        await self.close(PUBLISH_SECONDS)
        if self._first:
            await self._send([self._first])

    def _open(self) -> PublisherAsyncClient:
        if self._client is None:
            # Half a second of processor time, which belongs to the first request, not to every cold start's import.
            from google.pubsub_v1 import PublisherAsyncClient
            from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

            self._channel, transport = connect(PublisherGrpcAsyncIOTransport, self._emulator_host)
            self._client = PublisherAsyncClient(transport=transport)
        return self._client


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Messages in their order, cut so that each batch is one call; Pub/Sub refuses two ordering keys in one."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        is_full = len(batch) == PUBLISH_BATCH_MAX or size + len(message.data) > PUBLISH_BATCH_BYTES_MAX
        if batch and (is_full or message.ordering_key != batch[-1].ordering_key):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.data)
    if batch:
        yield batch
