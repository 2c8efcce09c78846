"""What no client library would send, over a raw socket: the right refusal, nothing stored, and the worker goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.conftest import Engine
from tests.contract.calls import raw

ANSWER_SECONDS = 30
BODY = raw()
CHUNKED = b"Transfer-Encoding: chunked"
WITHOUT_BODY = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def checkout(
    *headers: bytes,
    body: bytes = BODY,
    length: bytes | None = b"right",
    key: bytes | None = b"fresh",
    content_type: bytes = b"application/json",
    method: bytes = b"POST",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """A checkout as bytes; without changes one that is accepted."""
    lines = [method + b" /v1/checkout " + version, b"Host: x", b"Connection: close", b"Content-Type: " + content_type]
    if key is not None:
        lines.append(b"Idempotency-Key: " + (uuid4().hex.encode() if key == b"fresh" else key))
    if length is not None:
        lines.append(b"Content-Length: " + (b"%d" % len(body) if length == b"right" else length))
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n" + body


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def get(target: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + target + WITHOUT_BODY


# Each with the status and the problem; None where the server itself refuses, in its own words.
REFUSED: dict[str, tuple[bytes, int, str | None]] = {
    "length too small": (checkout(length=b"10"), 400, "malformed-json"),
    "length zero": (checkout(length=b"0"), 400, "malformed-json"),
    "length negative": (checkout(length=b"-1"), 400, None),
    "length no number": (checkout(length=b"ten"), 400, None),
    "length with a sign": (checkout(length=b"+%d" % len(BODY)), 400, None),
    "length with an underscore": (checkout(length=b"7_5"), 400, None),
    "length hexadecimal": (checkout(length=b"0x4b"), 400, None),
    "length empty": (checkout(length=b""), 400, None),
    "length over 64 bits": (checkout(length=b"9" * 30), 400, None),
    "length of 5,000 digits": (checkout(length=b"9" * 5_000), 400, None),
    "length of 64 bits": (checkout(length=b"18446744073709551615"), 413, "too-large"),
    "length twice": (checkout(b"Content-Length: %d" % len(BODY)), 400, None),
    "lengths that differ": (checkout(b"Content-Length: 3"), 400, None),
    "length and chunks": (checkout(CHUNKED, body=chunks(BODY)), 400, None),
    "no length, no chunks": (checkout(length=None), 400, None),
    "chunk size no number": (checkout(CHUNKED, length=None, body=b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"), 400, None),
    "chunk size negative": (checkout(CHUNKED, length=None, body=b"-5\r\n" + BODY + b"\r\n0\r\n\r\n"), 400, None),
    "chunk size too large": (checkout(CHUNKED, length=None, body=b"f" * 20 + b"\r\n" + BODY), 400, None),
    "chunk longer than its size": (checkout(CHUNKED, length=None, body=b"5\r\nabcdefg\r\n0\r\n\r\n"), 400, None),
    "chunks over the limit": (checkout(CHUNKED, length=None, body=chunks(*[b" " * 1024] * 70)), 413, "too-large"),
    "transfer encoding unknown": (checkout(b"Transfer-Encoding: gzip", length=None), 400, None),
    "transfer encoding twice": (checkout(CHUNKED, CHUNKED, length=None, body=chunks(BODY)), 400, None),
    "no HTTP": (bytes(range(256)), 400, None),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200, 400, None),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, None),
    "HTTP/9.9": (checkout(version=b"HTTP/9.9"), 400, None),
    "a header without a colon": (checkout(b"Hello"), 400, None),
    "a header name with a space": (checkout(b"X A: b"), 400, None),
    "a header without a name": (checkout(b": b"), 400, None),
    "a folded header": (checkout(b"X-A: b\r\n c"), 400, None),
    "NUL in a header": (checkout(b"X-A: a\x00b"), 400, None),
    "CR in a header": (checkout(b"X-A: a\rb"), 400, None),
    "no content type": (checkout().replace(b"Content-Type: application/json\r\n", b""), 415, "unsupported-media-type"),
    "content type empty": (checkout(content_type=b""), 415, "unsupported-media-type"),
    "content type twice": (checkout(b"Content-Type: application/json"), 415, "unsupported-media-type"),
    "content type a list": (checkout(content_type=b"application/json, text/plain"), 415, "unsupported-media-type"),
    "content type like JSON": (checkout(content_type=b"application/problem+json"), 415, "unsupported-media-type"),
    "content type not ASCII": (checkout(content_type=b"application/json\xff"), 415, "unsupported-media-type"),
    "content type nonsense": (checkout(content_type=b";;;"), 415, "unsupported-media-type"),
    "UTF-16": (checkout(body=BODY.decode().encode("utf-16")), 400, "malformed-json"),
    "UTF-16 without a mark": (checkout(body=BODY.decode().encode("utf-16-le")), 400, "malformed-json"),
    "UTF-32": (checkout(body=BODY.decode().encode("utf-32")), 400, "malformed-json"),
    "a byte order mark": (checkout(body=b"\xef\xbb\xbf" + BODY), 400, "malformed-json"),
    "UTF-16 by content type": (
        checkout(content_type=b"application/json; charset=utf-16", body=BODY.decode().encode("utf-16")),
        400,
        "malformed-json",
    ),
    "no key": (checkout(key=None), 400, "idempotency-key-missing"),
    "key by another name": (checkout(b"Idempotency_Key: a", key=None), 400, "idempotency-key-missing"),
    "key with a tab": (checkout(key=b"a\tb"), 400, "idempotency-key-invalid"),
    "key of spaces": (checkout(key=b"   "), 400, "idempotency-key-invalid"),
    "key not ASCII": (checkout(key=b"\xc3\xbc"), 400, "idempotency-key-invalid"),
    "key not UTF-8": (checkout(key=b"a\xff"), 400, "idempotency-key-invalid"),
    "key with NUL": (checkout(key=b"a\x00b"), 400, None),
    "key with DEL": (checkout(key=b"a\x7f"), 400, None),
    "key with an open quote": (checkout(key=b'"abc'), 400, "idempotency-key-invalid"),
    "key that goes on after its quotes": (checkout(key=b'"abc"; a=1'), 400, "idempotency-key-invalid"),
    "key that is a list": (checkout(key=b'"a", "b"'), 400, "idempotency-key-invalid"),
    "key with a wrong escape": (checkout(key=rb'"a\nb"'), 400, "idempotency-key-invalid"),
    "key that ends in an escape": (checkout(key=b'"a\\'), 400, "idempotency-key-invalid"),
    "key of 256 in quotes": (checkout(key=b'"' + b"k" * 256 + b'"'), 400, "idempotency-key-invalid"),
    "key of 60,000": (checkout(key=b"k" * 60_000), 400, "idempotency-key-invalid"),
    "key twice": (checkout(b"Idempotency-Key: b", key=b"a"), 400, "idempotency-key-invalid"),
    "key twice, the same": (checkout(b"idempotency-key: a", key=b"a"), 400, "idempotency-key-invalid"),
    "an unknown method": (checkout(method=b"BREW"), 400, None),
    "a method in small letters": (checkout(method=b"post"), 400, None),
    "a method of 5,000 letters": (checkout(method=b"A" * 5_000), 400, None),
    "PATCH": (checkout(method=b"PATCH"), 405, "method-not-allowed"),
    "TRACE": (get(b"/v1/checkout", b"TRACE"), 405, None),
    "PROPFIND": (get(b"/v1/checkout", b"PROPFIND"), 405, None),
    "CONNECT": (get(b"a:80", b"CONNECT"), 400, None),
    "HEAD of what takes POST only": (get(b"/v1/checkout", b"HEAD"), 405, None),
    "HEAD of nothing": (get(b"/nope", b"HEAD"), 404, None),
    "OPTIONS of nothing": (get(b"/nope", b"OPTIONS"), 404, "not-found"),
    "no path": (get(b""), 400, None),
    "a path without a slash": (get(b"v1/health"), 400, None),
    "a query alone": (get(b"?"), 400, None),
    "two slashes": (get(b"//v1/health"), 404, "not-found"),
    "a bracket for a host": (get(b"//["), 404, "not-found"),
    "a dot": (get(b"/v1/./drops/open"), 404, "not-found"),
    "dots": (get(b"/v1/drops/../drops/open"), 404, "not-found"),
    "dots for an id": (get(b"/v1/drops/.."), 404, "drop-not-found"),
    "escaped dots": (get(b"/v1/drops/%2e%2e"), 404, "drop-not-found"),
    "an escaped slash in an id": (get(b"/v1/drops/a%2fb"), 404, "not-found"),
    "escaped NUL": (get(b"/v1/drops/a%00b"), 404, "drop-not-found"),
    "escaped NUL in an order id": (get(b"/v1/orders/%00"), 404, "order-not-found"),
    "an escaped line feed": (get(b"/v1/drops/a%0ab"), 404, None),
    "an escaped byte that isn't UTF-8": (get(b"/v1/drops/%ff"), 404, "drop-not-found"),
    "an escaped surrogate": (get(b"/v1/drops/%ed%a0%80"), 404, "drop-not-found"),
    "a wrong escape": (get(b"/v1/drops/%zz"), 404, "drop-not-found"),
    "raw NUL": (get(b"/v1/drops/\x00"), 400, None),
    "raw bytes that aren't ASCII": (get(b"/v1/drops/\xff"), 400, None),
    "an id of 9,000 letters": (get(b"/v1/drops/" + b"a" * 9_000), 404, "drop-not-found"),
    "a path of a megabyte": (get(b"/v1/drops/" + b"a" * 1_000_000), 400, None),
    "a query of 80,000 letters": (get(b"/v1/drops/open?" + b"a=b&" * 20_000), 400, None),
    "a wait in other digits": (get(b"/v1/orders/x?wait=%EF%BC%91"), 422, "invalid-request"),
    "two waits": (get(b"/v1/orders/x?wait=1&wait=1"), 422, "invalid-request"),
}

ACCEPTED = {
    "as it should be": checkout(),
    "chunks": checkout(CHUNKED, length=None, body=chunks(BODY[:9], BODY[9:])),
    "content type with a charset": checkout(content_type=b"application/json; charset=utf-8"),
    "content type in odd letters": checkout(content_type=b"Application/JSON;Charset=UTF-8"),
    "key of 255": checkout(key=b"k" * 255),
    "key of a quoted space": checkout(key=b'" "'),
    "key with escapes": checkout(key=rb'"a\"b\\c"'),
    "key with a quote inside": checkout(key=b'a"b'),
    "key in small letters": checkout(b"idempotency-key: small", key=None),
    "5,000 headers": checkout(*(b"X-%d: a" % n for n in range(5_000))),
    "a trace that is none": checkout(b"traceparent: \xff" + b"x" * 2_000),
}


@pytest.fixture
async def address(api_url: str) -> AsyncIterator[tuple[str, int]]:
    """Where checkout listens; after each test it must still serve."""
    host, _, port = api_url.removeprefix("http://").rpartition(":")
    yield host, int(port)
    assert (await send((host, int(port)), get(b"/v1/drops/open"))).startswith(b"HTTP/1.1 200 ")


async def send(address: tuple[str, int], data: bytes) -> bytes:
    """Send these bytes, and no more; all that comes back."""
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection(*address)
        received = b""
        try:
            writer.write(data)
            while chunk := await reader.read(65_536):
                received += chunk
        except ConnectionError:  # a server may close on what it won't read to its end
            pass
        finally:
            writer.close()
        return received


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_nothing_is_stored(address: tuple[str, int], books: Engine, name: str) -> None:
    data, status, problem = REFUSED[name]
    stored = await books.count("orders")
    head, _, body = (await send(address, data)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert problem is None or json.loads(body)["type"] == f"/problems/{problem}"
    assert await books.count("orders") == stored


@pytest.mark.parametrize("name", ACCEPTED)
async def test_it_is_odd_and_accepted(address: tuple[str, int], name: str) -> None:
    assert (await send(address, ACCEPTED[name])).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize(
    "data",
    [checkout(length=b"1000"), checkout(CHUNKED, length=None, body=b"%x\r\n" % len(BODY) + BODY[:20])],
    ids=["length too large", "a chunk cut short"],
)
async def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(
    address: tuple[str, int], books: Engine, data: bytes
) -> None:
    stored = await books.count("orders")
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(ANSWER_SECONDS):
        assert not (await reader.read()).startswith(b"HTTP/1.1 5")
    writer.close()
    assert await books.count("orders") == stored


async def test_what_follows_a_body_is_a_request_of_its_own(address: tuple[str, int]) -> None:
    first = checkout(length=b"2", body=b"{}").replace(b"Connection: close\r\n", b"")
    answers = await send(address, first + get(b"/v1/drops/open"))
    assert [part[:4] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"422 ", b"200 "]
