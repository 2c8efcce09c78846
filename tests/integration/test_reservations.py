"""What process_order does with a message: decide its order, insert it if only the queue knows it, or record why not.

Each check that stands between a message and the books is taken out once, to see what it is there for.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common import messages
from common.database import Database
from common.messages import Delivery
from common.models import CheckoutRequest
from common.order_ids import derive_order_id
from common.parsing import canonical_json, fingerprint
from common.publisher import Publisher
from common.reservations import Reservations
from tests.conftest import Engine

SECRET = b"z" * 32
NOBODY = "127.0.0.1:1"  # free orders wake nobody
PUBLISHED_AT = "2020-06-01T12:00:00.123Z"
OPEN = {"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z"}
MADE_UP = "6c1f4ad5-64ea-8b8c-9cb5-0123456789ab"


@pytest.fixture
async def function(engine: Engine) -> AsyncIterator[Reservations]:
    """What serves process_order, on a database with an open drop."""
    await engine.create_drop(items={"M": 9}, **OPEN)
    database = Database(engine.url)
    yield Reservations(database, Publisher("project", "payments", NOBODY), {1: SECRET})
    await database.close()


def message(key: str, *, quantity: int = 1, drop_id: str = "drop", **fields: Any) -> dict[str, Any]:
    """A message as checkout publishes it, with these fields instead of its own."""
    document = CheckoutRequest.model_validate(
        {"drop_id": drop_id, "customer": {"id": f"c-{key}"}, "items": [{"sku": "M", "quantity": quantity}]}
    ).document()
    return {
        "schema_version": 1,
        "order_id": derive_order_id(SECRET, drop_id, key),
        "idempotency_key": key,
        "fingerprint": fingerprint(canonical_json(document)),
        "request": document,
        "amount_minor": 0,
        **fields,
    }


def accepted(one: dict[str, Any]) -> dict[str, Any]:
    """The message's order as checkout stores it."""
    wanted = {name: one[name] for name in ("order_id", "idempotency_key", "fingerprint", "request")}
    return {**wanted, "drop_id": one["request"]["drop_id"], "payable": False}


async def deliver(function: Reservations, one: dict[str, Any], message_id: str = "m-1") -> bool:
    return await function.decide(Delivery(message_id, PUBLISHED_AT, json.dumps(one).encode()))


async def recorded(engine: Engine) -> list[tuple[str, str]]:
    rows = await engine.connection.fetch("SELECT id, reason FROM rejected_messages ORDER BY id")
    return [(row["id"], row["reason"]) for row in rows]


async def statuses(engine: Engine) -> dict[str, str]:
    """The status of each order, by its id."""
    return {str(row["id"]): row["status"] for row in await engine.connection.fetch("SELECT id, status FROM orders")}


async def test_an_order_that_only_the_queue_knows_is_inserted_and_decided(
    engine: Engine, function: Reservations
) -> None:
    one = message("a")
    assert await deliver(function, one)
    assert await deliver(function, one, "m-2")  # published twice, or delivered again
    assert await statuses(engine) == {one["order_id"]: "confirmed"}
    assert await recorded(engine) == []
    assert await engine.violations() == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"order_id": MADE_UP}, "malformed"),
        ({"order_id": "no id"}, "malformed"),
        ({"idempotency_key": "b"}, "malformed"),
        ({"fingerprint": "0" * 64}, "malformed"),
        ({"fingerprint": None}, "malformed"),
        ({"amount_minor": -1}, "malformed"),
        ({"amount_minor": True}, "malformed"),
        ({"request": {}}, "malformed"),
        ({"request": {**message("a")["request"], "customer": {"id": "\ud800"}}}, "malformed"),
        (message("a", drop_id="nope"), "drop_not_found"),
    ],
)
async def test_a_message_that_checkout_never_published_is_recorded_and_acknowledged(
    engine: Engine, function: Reservations, changed: dict[str, Any], reason: str
) -> None:
    one = {**message("a"), **changed}
    assert await deliver(function, one)
    assert await deliver(function, one)
    assert await recorded(engine) == [("m-1", reason)]
    assert await engine.count("orders") == 0


async def test_a_message_without_the_time_of_publishing_is_recorded(engine: Engine, function: Reservations) -> None:
    for message_id, time in (("m-1", ""), ("m-2", "2020-06-01T12:00:00")):
        assert await function.decide(Delivery(message_id, time, json.dumps(message("a")).encode()))
    assert await recorded(engine) == [("m-1", "malformed"), ("m-2", "malformed")]


async def test_a_message_that_differs_from_its_row_is_recorded_and_the_row_decided(
    engine: Engine, function: Reservations
) -> None:
    await engine.accept(accepted(message("a", quantity=2)))
    assert await deliver(function, message("a", quantity=3))
    assert await recorded(engine) == [("m-1", "differs_from_row")]
    assert await engine.count("items WHERE sold = 2") == 1
    assert await deliver(function, message("a", quantity=2), "m-2")
    assert await recorded(engine) == [("m-1", "differs_from_row")]


async def test_of_two_orders_under_one_key_one_is_stored_and_the_other_recorded(
    engine: Engine, function: Reservations
) -> None:
    assert await deliver(function, message("a", quantity=2))
    assert await deliver(function, message("a", quantity=3), "m-2")
    assert await recorded(engine) == [("m-2", "differs_from_row")]
    assert await engine.count("orders") == 1
    assert await engine.violations() == []


class _EqualToAll(str):
    def __eq__(self, _other: object) -> bool:
        return True

    __hash__ = str.__hash__


async def test_control_without_comparing_with_the_row_an_order_vanishes_without_a_trace(
    engine: Engine, function: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Database.call

    async def call(self: Database, name: str, argument: Any) -> Any:
        answers = await real(self, name, argument)
        for answer in answers if name == "reserve_orders" else ():
            answer["fingerprint"] = _EqualToAll()
        return answers

    monkeypatch.setattr(Database, "call", call)
    await engine.accept(accepted(message("a", quantity=2)))
    assert await deliver(function, message("a", quantity=3))
    assert await recorded(engine) == []


async def test_control_without_deriving_the_id_a_made_up_message_takes_a_buyers_key(
    engine: Engine, function: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "derive_order_id", lambda _secret, _drop_id, _key: MADE_UP)
    assert await deliver(function, message("a", order_id=MADE_UP))
    monkeypatch.undo()
    assert await deliver(function, message("a"), "m-2")  # of the buyer, who was told 202 and this message's id
    assert await statuses(engine) == {MADE_UP: "confirmed"}
    assert await recorded(engine) == [("m-2", "conflict")]


async def test_control_without_the_fingerprint_of_the_request_a_buyers_repeat_is_refused(
    engine: Engine, function: Reservations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "fingerprint", lambda _canonical: "forged")
    assert await deliver(function, message("a", fingerprint="forged"))
    (verdict,) = await engine.accept(accepted(message("a")))
    assert verdict["outcome"] == "conflict"
