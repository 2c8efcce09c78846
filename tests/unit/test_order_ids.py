"""Order ids: derived, of version 8, and recognisable."""

from __future__ import annotations

from uuid import UUID, uuid4

from common.order_ids import derive_order_id, was_issued

SECRET, OTHER = b"s" * 32, b"o" * 32


def test_one_key_has_one_id_and_nothing_else_has_it() -> None:
    ids = {derive_order_id(secret, drop, key) for secret in (SECRET, OTHER) for drop in "ab" for key in ("k", "l")}
    assert len(ids) == 8
    assert derive_order_id(SECRET, "a", "k") in ids
    assert derive_order_id(SECRET, "ab", "c") != derive_order_id(SECRET, "a", "bc")


def test_it_is_a_uuid_of_version_8() -> None:
    order_id = UUID(derive_order_id(SECRET, "drop", "key"))
    assert (order_id.version, order_id.variant) == (8, "specified in RFC 4122")


def test_an_issued_id_is_told_from_a_made_up_one() -> None:
    order_id = UUID(derive_order_id(SECRET, "drop", "key"))
    assert was_issued(order_id, [OTHER, SECRET])
    assert not was_issued(order_id, [OTHER])
    assert not was_issued(UUID(int=order_id.int ^ 1), [SECRET])
    assert not was_issued(uuid4(), [SECRET])
