"""Connections to Pub/Sub, or to an emulator in its place: each client has one of its own."""

from __future__ import annotations

from typing import Any

import grpc

# gRPC shares connections between the channels of a process; a new channel is to mean a new connection.
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
_EMULATOR_CHANNEL = [
    _OWN_CONNECTION,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def connect(transport: Any, emulator_host: str | None) -> tuple[grpc.aio.Channel, Any]:
    """A new channel, and the API's transport over it; `transport` is one of the API's asyncio transport classes."""
    if emulator_host:
        channel = grpc.aio.insecure_channel(emulator_host, options=_EMULATOR_CHANNEL)
        return channel, transport(channel=channel)

    def own_channel(host: str, *, options: list[tuple[str, int]], **rest: Any) -> Any:
        return transport.create_channel(host, options=[*options, _OWN_CONNECTION], **rest)

    made = transport(channel=own_channel)
    return made.grpc_channel, made
