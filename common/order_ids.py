"""Order ids are derived, never drawn, so that any instance computes the same id for one key and nobody outside can.

Layout of the 16 bytes: 12 bytes of HMAC-SHA-256 over drop id and idempotency key, in which version 8 and the variant of
RFC 9562 (section 5.8) are set, then a tag of 4 bytes, a keyed BLAKE2b (RFC 7693) of those 12. The tag tells an id that
was issued from one that was made up, without a look into the database.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from uuid import UUID

_BODY_BYTES = 12
_TAG_BYTES = 4


def derive_order_id(secret: bytes, drop_id: str, idempotency_key: str) -> str:
    """The one id of the order under `idempotency_key` in `drop_id`, for a drop that uses `secret`.

    Neither text may hold a NUL, which stands between them; a validated request's can't.
    """
    mac = hmac.digest(secret, b"order\0%b\0%b" % (drop_id.encode(), idempotency_key.encode()), "sha256")
    body = b"%b%c%c%c%b" % (mac[:6], mac[6] & 0x0F | 0x80, mac[7], mac[8] & 0x3F | 0x80, mac[9:_BODY_BYTES])
    digits = (body + _tag(secret, body)).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def was_issued(order_id: UUID, secrets: Iterable[bytes]) -> bool:
    """Whether the id carries the tag of one of the secrets (a made-up id passes once in four thousand million)."""
    body, tag = order_id.bytes[:_BODY_BYTES], order_id.bytes[_BODY_BYTES:]
    return any(hmac.compare_digest(tag, _tag(secret, body)) for secret in secrets)


def _tag(secret: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_TAG_BYTES, key=secret[: hashlib.blake2b.MAX_KEY_SIZE]).digest()
