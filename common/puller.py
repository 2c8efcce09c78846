"""Pull messages from a subscription, a few at a time. The client is built on first use, after the fork."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from common.messages import Delivery
from common.pubsub import connect
from common.settings import PULL_CALL_SECONDS, PULL_SECONDS

if TYPE_CHECKING:
    import grpc
    from google.pubsub_v1 import SubscriberAsyncClient

_FIRST_PUBLISHED_AT = "CloudPubSubDeadLetterSourceTopicPublishTime"  # Pub/Sub's own attribute of dead letters


class PullFailed(Exception):
    """Pub/Sub refused a call, or can't be reached; what was pulled comes again."""


class Pulled(NamedTuple):
    """A message that is ours until its ack deadline; a dead letter has the time at which it was first published."""

    ack_id: str
    delivery: Delivery


class Puller:
    """Pulls from one subscription of a project. Use it from one event loop only."""

    def __init__(self, project: str, subscription: str, emulator_host: str | None) -> None:
        self._subscription = f"projects/{project}/subscriptions/{subscription}"
        self._emulator_host = emulator_host
        self._client: SubscriberAsyncClient | None = None
        self._channel: grpc.aio.Channel | None = None

    async def pull(self, limit: int) -> list[Pulled]:
        """Up to `limit` messages, or none when none came within PULL_SECONDS.

        Raises:
            PullFailed: Pub/Sub refused, or can't be reached.
        """
        from google.api_core.exceptions import DeadlineExceeded

        try:
            answer = await self._open().pull(
                subscription=self._subscription, max_messages=limit, timeout=PULL_SECONDS, retry=None
            )
        except DeadlineExceeded:  # how Pub/Sub's own pull ends when there is nothing
            return []
        except Exception as error:  # the client raises its own errors, grpc's and asyncio's
            raise PullFailed(type(error).__name__) from error
        return [Pulled(one.ack_id, _delivery(one.message)) for one in answer.received_messages]

    async def acknowledge(self, pulled: Sequence[Pulled]) -> None:
        """Done with these.

        Raises:
            PullFailed: they come again.
        """
        await self._tell("acknowledge", pulled)

    async def give_back(self, pulled: Sequence[Pulled]) -> None:
        """Not done with these: whoever pulls next may have them at once.

        Raises:
            PullFailed: they come again when their ack deadline is over.
        """
        await self._tell("modify_ack_deadline", pulled, ack_deadline_seconds=0)

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            channel, self._channel, self._client = self._channel, None, None
            await channel.close(None)

    async def _tell(self, call: str, pulled: Sequence[Pulled], **fields: int) -> None:
        if not pulled:
            return
        request = {"subscription": self._subscription, "ack_ids": [one.ack_id for one in pulled], **fields}
        try:
            await getattr(self._open(), call)(request=request, timeout=PULL_CALL_SECONDS, retry=None)
        except Exception as error:  # as above
            raise PullFailed(type(error).__name__) from error

    def _open(self) -> SubscriberAsyncClient:
        if self._client is None:
            from google.pubsub_v1 import SubscriberAsyncClient
            from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

            self._channel, transport = connect(SubscriberGrpcAsyncIOTransport, self._emulator_host)
            self._client = SubscriberAsyncClient(transport=transport)
        return self._client


def _delivery(message: Any) -> Delivery:
    published_at = message.attributes.get(_FIRST_PUBLISHED_AT) or message.publish_time.rfc3339()
    return Delivery(message.message_id, published_at, message.data)
