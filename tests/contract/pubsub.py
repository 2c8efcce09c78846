"""What the tests of Pub/Sub share: an emulator that runs, a client for it, and an endpoint that it pushes to."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import grpc
from aiohttp import web
from google.api_core.exceptions import DeadlineExceeded
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import PushConfig, RetryPolicy, Subscription

from local.machine import HOST, free_port

T = TypeVar("T")

WAIT_SECONDS = 40.0  # for anything; Google's emulator alone takes 13 to give up on a message
PULL_SECONDS = 2.0
POLL_SECONDS = 0.02
PROJECT = "projects/contract"
FAST_RETRY = RetryPolicy(minimum_backoff=Duration(nanos=50_000_000), maximum_backoff=Duration(nanos=100_000_000))


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An emulator that answers, killed in the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # gRPC would wait for a second before it tries again.
        with grpc.insecure_channel(f"{HOST}:{port}", [("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
            grpc.channel_ready_future(channel).result(WAIT_SECONDS)
        yield process
    finally:
        process.kill()
        process.wait()


def embedded(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "local.pubsub", "--host", HOST, "--port", str(port), *options]


@asynccontextmanager
async def own_queue(*options: str) -> AsyncIterator[Queue]:
    """A client of an embedded emulator that nobody shares."""
    port = free_port()
    with running(embedded(port, *options), port):
        async with connected(f"{HOST}:{port}") as queue:
            yield queue


def acked(journal: Path) -> int:
    return sum(line.startswith("ack ") for line in journal.read_text().splitlines())


@asynccontextmanager
async def connected(emulator_host: str) -> AsyncIterator[Queue]:
    async with grpc.aio.insecure_channel(emulator_host) as channel:
        yield Queue(channel)


class Queue:
    """The API's clients, and the few calls that tests make."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        self.subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))

    async def topic(self, name: str = "") -> str:
        name = f"{PROJECT}/topics/{name or f't-{uuid4().hex}'}"
        await self.publisher.create_topic(name=name)
        return name

    async def subscribe(self, topic: str, push_to: str = "", name: str = "", **settings: Any) -> str:
        name = f"{PROJECT}/subscriptions/{name or f's-{uuid4().hex}'}"
        push = PushConfig(push_endpoint=push_to)
        await self.subscriber.create_subscription(
            request=Subscription(name=name, topic=topic, push_config=push, **settings)
        )
        return name

    async def push_to(self, subscription: str, url: str) -> None:
        await self.subscriber.modify_push_config(subscription=subscription, push_config=PushConfig(push_endpoint=url))

    async def publish(self, topic: str, *texts: str, **fields: Any) -> list[str]:
        messages = [{"data": text.encode(), **fields} for text in texts]
        request = {"topic": topic, "messages": messages}
        return list((await self.publisher.publish(request=request, retry=None)).message_ids)

    async def pull(self, subscription: str, max_messages: int = 100) -> list[Any]:
        """What a pull brings, within a time in which nothing may come."""
        with suppress(DeadlineExceeded):
            answer = await self.subscriber.pull(
                subscription=subscription, max_messages=max_messages, timeout=PULL_SECONDS, retry=None
            )
            return list(answer.received_messages)
        return []

    async def pull_some(self, subscription: str) -> list[Any]:
        return await eventually(lambda: self.pull(subscription))

    async def ack(self, subscription: str, *received: Any) -> None:
        await self.subscriber.acknowledge(subscription=subscription, ack_ids=[each.ack_id for each in received])

    async def give_back(self, subscription: str, *received: Any, after_seconds: int = 0) -> None:
        ack_ids = [each.ack_id for each in received]
        await self.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=ack_ids, ack_deadline_seconds=after_seconds
        )


class Receiver:
    """A push endpoint: remembers what it got and answers as told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.content_types: set[str] = set()
        self.url = ""
        self.answer: Callable[[str], Awaitable[int]] = self._accept

    @property
    def texts(self) -> list[str]:
        return [base64.b64decode(body["message"]["data"]).decode() for body in self.bodies]

    @property
    def ids(self) -> list[str]:
        return [body["message"]["messageId"] for body in self.bodies]

    async def handle(self, request: web.Request) -> web.Response:
        self.content_types.add(request.content_type)
        self.bodies.append(await request.json())
        return web.Response(status=await self.answer(self.texts[-1]))

    async def got(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.bodies) >= count

        await eventually(enough)

    async def _accept(self, _text: str) -> int:
        return 204


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver, app, port = Receiver(), web.Application(), free_port()
    app.router.add_post("/push", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    receiver.url = f"http://{HOST}:{port}/push"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def eventually(look: Callable[[], Awaitable[T]]) -> T:
    """The first true result."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (result := await look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(POLL_SECONDS)
    return result
