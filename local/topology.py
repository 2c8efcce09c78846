"""The queue's topics and subscriptions on this machine; in the cloud they are Terraform's."""

from __future__ import annotations

from contextlib import suppress

import grpc
from google.api_core.exceptions import AlreadyExists
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import DeadLetterPolicy, PushConfig, RetryPolicy, Subscription

ACK_DEADLINE_SECONDS = 60
RETRY_SECONDS = (1, 5)  # short, so that a laptop recovers while somebody watches
DELIVERY_ATTEMPTS_MAX = 100  # minutes of outage, before a message goes to the dead letters
CALL_SECONDS = 10.0


def ensure_topology(emulator_host: str, project: str, endpoints: dict[str, str]) -> None:
    """Create what is missing, and point the subscriptions process-order and charge-order to where they are to push."""
    with grpc.insecure_channel(emulator_host) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for topic in ("orders", "orders-dead-letter", "payments", "payments-dead-letter", "order-events"):
            with suppress(AlreadyExists):
                publisher.create_topic(name=f"projects/{project}/topics/{topic}", timeout=CALL_SECONDS)
        for wanted in (
            *_subscriptions(project, "process-order", "orders", endpoints["process-order"]),
            *_subscriptions(project, "charge-order", "payments", endpoints["charge-order"]),
            _pulled(project, "order-events", enable_message_ordering=True),  # an example of a shop's subscriber
        ):
            try:
                subscriber.create_subscription(request=wanted, timeout=CALL_SECONDS)
            except AlreadyExists:
                if wanted.push_config.push_endpoint:
                    subscriber.modify_push_config(
                        subscription=wanted.name, push_config=wanted.push_config, timeout=CALL_SECONDS
                    )


def _subscriptions(project: str, name: str, topic: str, endpoint: str) -> list[Subscription]:
    names, topics = f"projects/{project}/subscriptions", f"projects/{project}/topics"
    return [
        Subscription(
            name=f"{names}/{name}",
            topic=f"{topics}/{topic}",
            push_config=PushConfig(push_endpoint=endpoint),
            ack_deadline_seconds=ACK_DEADLINE_SECONDS,
            retry_policy=RetryPolicy(
                minimum_backoff=Duration(seconds=RETRY_SECONDS[0]), maximum_backoff=Duration(seconds=RETRY_SECONDS[1])
            ),
            dead_letter_policy=DeadLetterPolicy(
                dead_letter_topic=f"{topics}/{topic}-dead-letter", max_delivery_attempts=DELIVERY_ATTEMPTS_MAX
            ),
        ),
        _pulled(project, f"{topic}-dead-letter"),
    ]


def _pulled(project: str, topic: str, **settings: bool) -> Subscription:
    """A subscription of the topic's own name, for whoever comes and pulls."""
    name, topic = f"projects/{project}/subscriptions/{topic}", f"projects/{project}/topics/{topic}"
    return Subscription(name=name, topic=topic, ack_deadline_seconds=ACK_DEADLINE_SECONDS, **settings)
