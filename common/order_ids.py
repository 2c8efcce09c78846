"""Order ids are derived, never drawn, so that any instance computes the same id for one key and nobody outside can.

Layout of the 16 bytes: 12 bytes of HMAC-SHA-256 over drop id and idempotency key, in which version 8 and the variant of
RFC 9562 (section 5.8) are set, then a tag of 4 bytes, an HMAC over those 12. The tag tells an id that was issued from
one that was made up, without a look into the database.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from uuid import UUID

_BODY_BYTES = 12
_TAG_BYTES = 4


def derive_order_id(secret: bytes, drop_id: str, idempotency_key: str) -> UUID:
    """The one id of the order under `idempotency_key` in `drop_id`, for a drop that uses `secret`."""
    body = bytearray(_mac(secret, b"order", drop_id.encode(), idempotency_key.encode())[:_BODY_BYTES])
    body[6] = (body[6] & 0x0F) | 0x80
    body[8] = (body[8] & 0x3F) | 0x80
    return UUID(bytes=bytes(body) + _tag(secret, bytes(body)))


def was_issued(order_id: UUID, secrets: Iterable[bytes]) -> bool:
    """Whether the id carries the tag of one of the secrets (a made-up id passes once in four thousand million)."""
    body, tag = order_id.bytes[:_BODY_BYTES], order_id.bytes[_BODY_BYTES:]
    return any(hmac.compare_digest(tag, _tag(secret, body)) for secret in secrets)


def _tag(secret: bytes, body: bytes) -> bytes:
    return _mac(secret, b"tag", body)[:_TAG_BYTES]


def _mac(secret: bytes, *parts: bytes) -> bytes:
    """HMAC over parts, each with its length before it, so that no two lists of parts are the same text."""
    return hmac.digest(secret, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")
