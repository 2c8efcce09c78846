"""The calls of the Pub/Sub emulator: the gRPC API google.pubsub.v1, as far as the engine uses it."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import grpc
from google.protobuf import empty_pb2, timestamp_pb2
from google.pubsub_v1 import types

from local.pubsub_delivery import Deliveries, Faults
from local.pubsub_store import Message, Store, Subscription

Topic: Any = types.Topic.pb()
SubscriptionPb: Any = types.Subscription.pb()
PublishResponse: Any = types.PublishResponse.pb()
PullResponse: Any = types.PullResponse.pb()
Empty: Any = empty_pb2.Empty

_NAME = re.compile(r"projects/[^/]+/(topics|subscriptions)/[A-Za-z][A-Za-z0-9._~+%-]{2,254}\Z")
MESSAGES_MAX = 1_000  # in one Publish call, as Pub/Sub has it
DATA_BYTES_MAX = 10_000_000
ACK_DEADLINE_RANGE = (10, 600)  # seconds, as Pub/Sub has it
DELIVERY_ATTEMPTS_RANGE = (5, 100)  # as Pub/Sub has it


class Refused(Exception):
    """A call that the API answers with an error."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Service:
    """The calls; each takes and returns the API's own messages."""

    def __init__(self, store: Store, http: aiohttp.ClientSession, faults: Faults) -> None:
        self._store, self._http, self._faults = store, http, faults
        self._deliveries: dict[str, Deliveries] = {}
        for subscription in store.subscriptions.values():
            self._deliver(subscription)

    async def create_topic(self, request: Any) -> Any:
        _check_name(request.name, "topics")
        if request.name in self._store.topics:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Topic already exists: {request.name}")
        self._store.add_topic(request.name)
        return request

    async def get_topic(self, request: Any) -> Any:
        return Topic(name=self._topic(request.topic))

    async def list_topics(self, request: Any) -> Any:
        found = [Topic(name=name) for name in sorted(self._store.topics) if name.startswith(request.project + "/")]
        return types.ListTopicsResponse.pb()(topics=found)

    async def delete_topic(self, request: Any) -> Any:
        self._store.remove_topic(self._topic(request.topic))
        return Empty()

    async def publish(self, request: Any) -> Any:
        topic = self._topic(request.topic)
        if not 1 <= len(request.messages) <= MESSAGES_MAX:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Publish 1 to {MESSAGES_MAX} messages at once.")
        if any(not message.data and not message.attributes for message in request.messages):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "A message needs data or attributes.")
        if sum(len(message.data) for message in request.messages) > DATA_BYTES_MAX:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"The messages are over {DATA_BYTES_MAX} bytes.")
        ids = [self._publish(topic, m.data, dict(m.attributes), m.ordering_key) for m in request.messages]
        return PublishResponse(message_ids=ids)

    async def create_subscription(self, request: Any) -> Any:
        _check_name(request.name, "subscriptions")
        self._topic(request.topic)
        if request.name in self._store.subscriptions:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Subscription already exists: {request.name}")
        _check_push(request.push_config)
        # Whoever leaves a number out gets Pub/Sub's own, and reads it back.
        request.ack_deadline_seconds = request.ack_deadline_seconds or ACK_DEADLINE_RANGE[0]
        _check_range("ack_deadline_seconds", request.ack_deadline_seconds, ACK_DEADLINE_RANGE)
        if request.dead_letter_policy.dead_letter_topic:
            policy = request.dead_letter_policy
            policy.max_delivery_attempts = policy.max_delivery_attempts or DELIVERY_ATTEMPTS_RANGE[0]
            _check_range("max_delivery_attempts", policy.max_delivery_attempts, DELIVERY_ATTEMPTS_RANGE)
        self._deliver(self._store.put_subscription(request))
        return request

    async def get_subscription(self, request: Any) -> Any:
        return self._subscription(request.subscription).config

    async def list_subscriptions(self, request: Any) -> Any:
        names = sorted(name for name in self._store.subscriptions if name.startswith(request.project + "/"))
        found = [self._store.subscriptions[name].config for name in names]
        return types.ListSubscriptionsResponse.pb()(subscriptions=found)

    async def delete_subscription(self, request: Any) -> Any:
        self._subscription(request.subscription)
        self._deliveries.pop(request.subscription).close()
        self._store.remove_subscription(request.subscription)
        return Empty()

    async def modify_push_config(self, request: Any) -> Any:
        _check_push(request.push_config)
        config = SubscriptionPb()
        config.CopyFrom(self._subscription(request.subscription).config)
        config.push_config.CopyFrom(request.push_config)
        self._store.put_subscription(config)
        self._deliveries[request.subscription].configure()
        return Empty()

    async def pull(self, request: Any) -> Any:
        self._subscription(request.subscription)
        if request.max_messages < 1:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "max_messages must be at least 1.")
        pulled = await self._deliveries[request.subscription].pull(request.max_messages)
        return PullResponse(
            received_messages=[
                {"ack_id": ack_id, "message": _pb_message(message), "delivery_attempt": attempt}
                for ack_id, message, attempt in pulled
            ]
        )

    async def acknowledge(self, request: Any) -> Any:
        self._subscription(request.subscription)
        for ack_id in request.ack_ids:
            self._deliveries[request.subscription].ack(ack_id)
        return Empty()

    async def modify_ack_deadline(self, request: Any) -> Any:
        self._subscription(request.subscription)
        for ack_id in request.ack_ids:
            self._deliveries[request.subscription].extend(ack_id, request.ack_deadline_seconds)
        return Empty()

    def _publish(self, topic: str, data: bytes, attributes: dict[str, str], key: str) -> str:
        message, receivers = self._store.publish(topic, time.time(), data, attributes, key)
        for subscription in receivers:
            self._deliveries[subscription.config.name].offer(message)
        return message.id

    def _deliver(self, subscription: Subscription) -> None:
        self._deliveries[subscription.config.name] = Deliveries(
            self._store, subscription, self._http, self._faults, self._dead_letter
        )

    def _dead_letter(self, subscription: Subscription, message: Message) -> bool:
        """Forward a message, unless the topic is gone: then its subscription keeps it."""
        topic = subscription.config.dead_letter_policy.dead_letter_topic
        if topic not in self._store.topics:
            return False
        project, _, name = subscription.config.name.rpartition("/subscriptions/")
        attributes = {
            **message.attributes,
            "CloudPubSubDeadLetterSourceSubscription": name,
            "CloudPubSubDeadLetterSourceSubscriptionProject": project.removeprefix("projects/"),
            "CloudPubSubDeadLetterSourceTopicPublishTime": message.published(),
            "CloudPubSubDeadLetterSourceDeliveryCount": str(subscription.attempts.get(message.id, 0)),
        }
        self._publish(topic, message.data, attributes, message.ordering_key)
        return True

    def _topic(self, name: str) -> str:
        if name not in self._store.topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Topic not found: {name}")
        return name

    def _subscription(self, name: str) -> Subscription:
        if name not in self._store.subscriptions:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Subscription not found: {name}")
        return self._store.subscriptions[name]


def _check_name(name: str, kind: str) -> None:
    match = _NAME.match(name)
    if not match or match[1] != kind:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Invalid name: {name!r}; use projects/P/{kind}/NAME.")


def _check_push(config: Any) -> None:
    if config.push_endpoint and not config.push_endpoint.startswith(("http://", "https://")):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Not an http URL: {config.push_endpoint!r}.")


def _check_range(name: str, value: int, allowed: tuple[int, int]) -> None:
    if not allowed[0] <= value <= allowed[1]:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{name} is {value}; use {allowed[0]} to {allowed[1]}.")


def _pb_message(message: Message) -> dict[str, Any]:
    seconds = int(message.published_at)
    published = timestamp_pb2.Timestamp(seconds=seconds, nanos=int((message.published_at - seconds) * 1e9))
    return {
        "message_id": message.id,
        "publish_time": published,
        "data": message.data,
        "attributes": message.attributes,
        "ordering_key": message.ordering_key,
    }


def handlers(service: Service) -> tuple[Any, Any]:
    """The two services of the API, for a gRPC server."""

    def handler(call: Callable[[Any], Awaitable[Any]], request_type: Any) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            try:
                return await call(request)
            except Refused as refused:
                await context.abort(refused.code, str(refused))

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request_type.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    publisher = {
        "CreateTopic": handler(service.create_topic, Topic),
        "GetTopic": handler(service.get_topic, types.GetTopicRequest.pb()),
        "ListTopics": handler(service.list_topics, types.ListTopicsRequest.pb()),
        "DeleteTopic": handler(service.delete_topic, types.DeleteTopicRequest.pb()),
        "Publish": handler(service.publish, types.PublishRequest.pb()),
    }
    subscriber = {
        "CreateSubscription": handler(service.create_subscription, SubscriptionPb),
        "GetSubscription": handler(service.get_subscription, types.GetSubscriptionRequest.pb()),
        "ListSubscriptions": handler(service.list_subscriptions, types.ListSubscriptionsRequest.pb()),
        "DeleteSubscription": handler(service.delete_subscription, types.DeleteSubscriptionRequest.pb()),
        "ModifyPushConfig": handler(service.modify_push_config, types.ModifyPushConfigRequest.pb()),
        "Pull": handler(service.pull, types.PullRequest.pb()),
        "Acknowledge": handler(service.acknowledge, types.AcknowledgeRequest.pb()),
        "ModifyAckDeadline": handler(service.modify_ack_deadline, types.ModifyAckDeadlineRequest.pb()),
    }
    return (
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
    )
