"""The calls of the Pub/Sub emulator: the gRPC API google.pubsub.v1, as far as the engine uses it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.pubsub_v1 import types

from local.pubsub_checks import Refused, check_count, check_messages, check_name, check_push, check_range
from local.pubsub_delivery import Deliveries
from local.pubsub_faults import Faults
from local.pubsub_limits import (
    ACK_DEADLINE_RANGE,
    DELIVERY_ATTEMPTS_RANGE,
    SUBSCRIPTIONS_MAX,
    TOPICS_MAX,
)
from local.pubsub_store import BacklogFull, Message, Store, Subscription, SubscriptionPb

Topic: Any = types.Topic.pb()
PublishResponse: Any = types.PublishResponse.pb()
PullResponse: Any = types.PullResponse.pb()
Empty: Any = empty_pb2.Empty


class Service:
    """The calls; each takes and returns the API's own messages."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults
        self._publishes: Counter[str] = Counter()  # calls to each topic, which the faults go by
        self._deliveries: dict[str, Deliveries] = {}
        for subscription in store.subscriptions.values():
            self._deliver(subscription)

    def close(self) -> None:
        """Stop delivering."""
        for deliveries in self._deliveries.values():
            deliveries.close()

    async def create_topic(self, request: Any) -> Any:
        check_name(request.name, "topics")
        if request.name in self._store.topics:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Topic already exists: {request.name}")
        check_count("topics", len(self._store.topics), TOPICS_MAX)
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
        check_messages(request)
        self._publishes[topic] += 1
        if self._faults.refuses(topic, self._publishes[topic]):
            raise Refused(grpc.StatusCode.UNAVAILABLE, "Refused on purpose (fault `refuse`); publish again.")
        return PublishResponse(message_ids=self._publish(topic, request.messages))

    async def create_subscription(self, request: Any) -> Any:
        check_name(request.name, "subscriptions")
        self._topic(request.topic)
        if request.name in self._store.subscriptions:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Subscription already exists: {request.name}")
        check_count("subscriptions", len(self._store.subscriptions), SUBSCRIPTIONS_MAX)
        check_push(request.push_config)
        # Whoever leaves a number out gets Pub/Sub's own, and reads it back.
        request.ack_deadline_seconds = request.ack_deadline_seconds or ACK_DEADLINE_RANGE[0]
        check_range("ack_deadline_seconds", request.ack_deadline_seconds, ACK_DEADLINE_RANGE)
        if request.dead_letter_policy.dead_letter_topic:
            policy = request.dead_letter_policy
            policy.max_delivery_attempts = policy.max_delivery_attempts or DELIVERY_ATTEMPTS_RANGE[0]
            check_range("max_delivery_attempts", policy.max_delivery_attempts, DELIVERY_ATTEMPTS_RANGE)
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
        self._store.remove_subscription(request.subscription)
        self._deliveries.pop(request.subscription).close()
        return Empty()

    async def modify_push_config(self, request: Any) -> Any:
        check_push(request.push_config)
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
                {"ack_id": message.id, "message": message.to_pb(), "delivery_attempt": attempt}
                for message, attempt in pulled
            ]
        )

    async def acknowledge(self, request: Any) -> Any:
        self._subscription(request.subscription)
        for ack_id in request.ack_ids:
            self._deliveries[request.subscription].ack(ack_id)
        return Empty()

    async def modify_ack_deadline(self, request: Any) -> Any:
        self._subscription(request.subscription)
        check_range("ack_deadline_seconds", request.ack_deadline_seconds, (0, ACK_DEADLINE_RANGE[1]))
        for ack_id in request.ack_ids:
            self._deliveries[request.subscription].extend(ack_id, request.ack_deadline_seconds)
        return Empty()

    def _publish(self, topic: str, contents: Iterable[Any]) -> list[str]:
        try:
            messages, receivers = self._store.publish(topic, contents)
        except BacklogFull as full:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, str(full)) from None
        except OSError as error:
            text = f"The journal can't be written ({error}). Make room on its disk, then publish again."
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text) from None
        for subscription in receivers:
            self._deliveries[subscription.config.name].offer(messages)
        return [message.id for message in messages]

    def _deliver(self, subscription: Subscription) -> None:
        self._deliveries[subscription.config.name] = Deliveries(
            self._store, subscription, self._faults, self._dead_letter
        )

    def _dead_letter(self, subscription: Subscription, message: Message) -> bool:
        """Forward a message; where that can't be done (the topic is gone), its subscription keeps it."""
        topic = subscription.config.dead_letter_policy.dead_letter_topic
        if topic not in self._store.topics:
            return False
        project, _, name = subscription.config.name.rpartition("/subscriptions/")
        content = message.to_pb()
        content.attributes.update(
            CloudPubSubDeadLetterSourceSubscription=name,
            CloudPubSubDeadLetterSourceSubscriptionProject=project.removeprefix("projects/"),
            CloudPubSubDeadLetterSourceTopicPublishTime=content.publish_time.ToJsonString(),
            CloudPubSubDeadLetterSourceDeliveryCount=str(subscription.attempts[message.id]),
        )
        try:
            self._publish(topic, [content])
        except Refused:
            return False
        return True

    def _topic(self, name: str) -> str:
        if name not in self._store.topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Topic not found: {name}")
        return name

    def _subscription(self, name: str) -> Subscription:
        if name not in self._store.subscriptions:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Subscription not found: {name}")
        return self._store.subscriptions[name]


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
