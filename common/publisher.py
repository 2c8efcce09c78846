"""Publish to Pub/Sub in batches, one call for all that gathered. The client is built on first use, after the fork."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from common.batching import Batcher
from common.settings import (
    FLUSHES_MAX,
    HEALTH_SECONDS,
    PUBLISH_BATCH_BYTES_MAX,
    PUBLISH_BATCH_MAX,
    PUBLISH_SECONDS,
    QUEUE_LENGTH_MAX,
)

if TYPE_CHECKING:
    from google.pubsub_v1 import PublisherAsyncClient

# A batch is bounded by bytes; each message weighs at least its share of the bound on messages.
_MESSAGE_WEIGHT_MIN = PUBLISH_BATCH_BYTES_MAX // PUBLISH_BATCH_MAX


class PublishFailed(Exception):
    """Pub/Sub did not take the messages in time. It may have them nevertheless; they may be published again."""


@dataclass(frozen=True)
class Message:
    """What is published: data, and string attributes."""

    data: bytes
    attributes: dict[str, str]

    @staticmethod
    def of(document: Any, attributes: dict[str, str]) -> Message:
        """A message that carries a document as JSON."""
        return Message(json.dumps(document).encode(), attributes)


class Publisher:
    """Publishes to one topic of a project. Use it from one event loop only."""

    def __init__(self, project: str, topic: str, emulator_host: str | None) -> None:
        self._topic = f"projects/{project}/topics/{topic}"
        self._emulator_host = emulator_host
        self._client: PublisherAsyncClient | None = None
        self._channel: grpc.aio.Channel | None = None
        self._batcher: Batcher[Message, str] = Batcher(
            self._publish_batch,
            batch_max=PUBLISH_BATCH_BYTES_MAX,
            queue_max=QUEUE_LENGTH_MAX,
            flushes_max=FLUSHES_MAX,
            size=lambda message: max(len(message.data), _MESSAGE_WEIGHT_MIN),
        )

    async def publish(self, message: Message) -> str:
        """Publish one message, together with those that gathered meanwhile; returns its message id.

        Raises:
            PublishFailed: not taken within PUBLISH_SECONDS.
            Overloaded: too many messages wait already.
        """
        return await self._batcher.submit(message)

    async def reachable(self) -> bool:
        """Whether a connection to Pub/Sub stands, or can be made within HEALTH_SECONDS."""
        self._open()
        assert self._channel is not None
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                while (state := self._channel.get_state(try_to_connect=True)) != grpc.ChannelConnectivity.READY:
                    await self._channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close(grace=None)
            self._channel = self._client = None

    async def _publish_batch(self, batch: Sequence[Message]) -> list[str]:
        messages = [{"data": message.data, "attributes": message.attributes} for message in batch]
        try:
            response = await self._open().publish(
                request={"topic": self._topic, "messages": messages}, timeout=PUBLISH_SECONDS, retry=None
            )
        except Exception as error:  # the client raises its own errors, grpc's and asyncio's
            raise PublishFailed(type(error).__name__) from error
        return list(response.message_ids)

    def _open(self) -> PublisherAsyncClient:
        if self._client is None:
            # Half a second of processor time, which belongs to the first request, not to every cold start's import.
            from google.pubsub_v1 import PublisherAsyncClient
            from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

            if self._emulator_host:
                options = [
                    ("grpc.initial_reconnect_backoff_ms", 100),
                    ("grpc.max_reconnect_backoff_ms", 1000),
                ]
                self._channel = grpc.aio.insecure_channel(self._emulator_host, options=options)
                transport = PublisherGrpcAsyncIOTransport(channel=self._channel)
            else:
                transport = PublisherGrpcAsyncIOTransport()
                self._channel = transport.grpc_channel
            self._client = PublisherAsyncClient(transport=transport)
        return self._client
