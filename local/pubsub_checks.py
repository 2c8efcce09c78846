"""What the Pub/Sub emulator refuses, mostly because Pub/Sub would, each with a text that says what to do instead."""

from __future__ import annotations

import re
from typing import Any

import grpc

from local.pubsub_limits import (
    ATTRIBUTE_NAME_BYTES_MAX,
    ATTRIBUTE_VALUE_BYTES_MAX,
    ATTRIBUTES_MAX,
    ORDERING_KEY_BYTES_MAX,
    PUBLISH_BYTES_MAX,
    PUBLISH_MESSAGES_MAX,
)
from local.pubsub_push import Endpoint

# Without spaces and commas, which set names apart in the journal.
_NAME = re.compile(r"projects/[^/,\s]+/(topics|subscriptions)/[A-Za-z][A-Za-z0-9._~+%-]{2,254}\Z")


class Refused(Exception):
    """A call that the API answers with an error."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_name(name: str, kind: str) -> None:
    match = _NAME.match(name)
    if not match or match[1] != kind:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Invalid name: {name!r}; use projects/P/{kind}/NAME.")


def check_count(kind: str, count: int, most: int) -> None:
    if count >= most:
        text = f"There are {count} {kind}, as many as this emulator keeps; delete some."
        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, text)


def check_messages(request: Any) -> None:
    """Refuse a Publish call that Pub/Sub would refuse."""
    if len({message.ordering_key for message in request.messages}) > 1:
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION, "The messages of one call have the same ordering key, or none has any."
        )
    if not 1 <= len(request.messages) <= PUBLISH_MESSAGES_MAX:
        problem = f"Publish 1 to {PUBLISH_MESSAGES_MAX} messages at once, not {len(request.messages)}."
    elif request.ByteSize() > PUBLISH_BYTES_MAX:
        problem = f"The messages take {request.ByteSize()} bytes; publish at most {PUBLISH_BYTES_MAX} at once."
    else:
        problem = next(filter(None, map(_problem, request.messages)), "")
    if problem:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, problem)


def _problem(message: Any) -> str:
    """What is wrong with a message, if anything."""
    if not message.data and not message.attributes:
        return "A message needs data or attributes."
    if len(message.ordering_key.encode()) > ORDERING_KEY_BYTES_MAX:
        return f"An ordering key has at most {ORDERING_KEY_BYTES_MAX} bytes."
    if len(message.attributes) > ATTRIBUTES_MAX:
        return f"A message has at most {ATTRIBUTES_MAX} attributes."
    for name, value in message.attributes.items():
        if len(name.encode()) > ATTRIBUTE_NAME_BYTES_MAX or len(value.encode()) > ATTRIBUTE_VALUE_BYTES_MAX:
            most = f"{ATTRIBUTE_NAME_BYTES_MAX} bytes, its value at most {ATTRIBUTE_VALUE_BYTES_MAX}"
            return f"An attribute's name has at most {most}: {name[:ATTRIBUTE_NAME_BYTES_MAX]!r}."
    return ""


def check_push(config: Any) -> None:
    if config.push_endpoint:
        try:
            Endpoint(config.push_endpoint)
        except ValueError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None


def check_range(name: str, value: int, allowed: tuple[int, int]) -> None:
    if not allowed[0] <= value <= allowed[1]:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{name} is {value}; use {allowed[0]} to {allowed[1]}.")
