"""A key that was accepted is a key for ever, however sold out, closed, paused or changed its drop is by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from uuid import uuid4

import aiohttp
import pytest

from tests.conftest import Engine
from tests.contract.calls import JSON, post, raw
from tests.serving import serve

# What happens to a drop of one unit after one order of it was accepted, and what a new order is told from then on.
AFTERWARDS = {
    "sold out": ("reserve", "sold-out"),
    "closed": ("UPDATE drops SET state = 'ended' WHERE id = $1", "drop-closed"),
    "over": ("UPDATE drops SET starts_at = '2000-01-01', ends_at = '2000-01-02' WHERE id = $1", "drop-closed"),
    "paused": ("UPDATE drops SET state = 'paused' WHERE id = $1", "drop-paused"),
    "opening later": (
        "UPDATE drops SET starts_at = '2999-01-01', ends_at = '2999-01-02' WHERE id = $1",
        "drop-not-open",
    ),
    "another price": ("UPDATE items SET unit_price_minor = 500 WHERE drop_id = $1", "price-changed"),
    "cancelled": ("cancel", None),
    "restocked": ("restock", None),
}


@pytest.mark.parametrize("afterwards", AFTERWARDS)
async def test_an_accepted_key_gets_its_order_whatever_came_afterwards(
    http: aiohttp.ClientSession, books: Engine, afterwards: str
) -> None:
    drop_id = f"key-{uuid4().hex}"
    await books.create_drop(drop_id, items={"M": 1})
    headers = {**JSON, "Idempotency-Key": uuid4().hex}
    body = raw(drop_id=drop_id, expected_amount_minor=0)
    status, accepted, first_headers = await post(http, body, headers)
    assert (status, "Idempotency-Replayed" in first_headers) == (202, False)

    what, refusal = AFTERWARDS[afterwards]
    await happen(books, what, drop_id, accepted["order_id"])
    status, problem, _ = await post(http, body)
    assert (
        (status, problem.get("type")) == (202, None) if refusal is None else problem["type"] == f"/problems/{refusal}"
    )

    for _ in range(2):
        status, again, again_headers = await post(http, body, headers)
        assert (status, again, again_headers["Idempotency-Replayed"]) == (202, accepted, "true")
        assert again_headers["Location"] == first_headers["Location"]
        status, problem, _ = await post(http, raw(drop_id=drop_id, customer={"id": "other"}), headers)
        assert (status, problem["type"]) == (422, "/problems/idempotency-key-reused")
    assert await books.count(f"orders WHERE drop_id = '{drop_id}'") == (1 if refusal else 2)


async def happen(books: Engine, what: str, drop_id: str, order_id: str) -> None:
    if what == "reserve":
        assert await books.reserve(order_id) == {order_id: "confirmed"}
    elif what == "cancel":
        await books.call("release_orders", [{"order_id": order_id, "reason": "operator"}])
    elif what == "restock":
        await books.reserve(order_id)
        await books.call("restock_item", {"drop_id": drop_id, "sku": "M", "quantity": 1, "ref": "more"})
    else:
        await books.connection.execute(what, drop_id)


async def test_a_refusal_uses_no_key_up(http: aiohttp.ClientSession, books: Engine) -> None:
    drop_id = f"key-{uuid4().hex}"
    await books.create_drop(drop_id, items={"M": 0})
    headers = {**JSON, "Idempotency-Key": "refused first"}
    status, _, _ = await post(http, raw(drop_id=drop_id, customer={"id": "other"}), headers)
    assert status == 409
    await books.call("restock_item", {"drop_id": drop_id, "sku": "M", "quantity": 1, "ref": "more"})
    status, _, answer_headers = await post(http, raw(drop_id=drop_id), headers)
    assert (status, "Idempotency-Replayed" in answer_headers) == (202, False)


async def test_a_key_belongs_to_its_drop(http: aiohttp.ClientSession, books: Engine) -> None:
    headers = {**JSON, "Idempotency-Key": uuid4().hex}
    ids = set()
    for _ in range(2):
        drop_id = f"key-{uuid4().hex}"
        await books.create_drop(drop_id)
        status, accepted, answer_headers = await post(http, raw(drop_id=drop_id), headers)
        assert (status, "Idempotency-Replayed" in answer_headers) == (202, False)
        ids.add(accepted["order_id"])
    assert len(ids) == 2


@pytest.fixture(scope="module")
def two_instances(api_database: str) -> Iterator[str]:
    """Two worker processes that share nothing but the database."""
    with serve("checkout", api_database, WORKERS="2") as url:
        yield url


@pytest.fixture
async def callers(two_instances: str) -> AsyncIterator[list[aiohttp.ClientSession]]:
    """Clients with a connection of their own each."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                aiohttp.ClientSession(two_instances, connector=aiohttp.TCPConnector(limit=1))
            )
            for _ in range(24)
        ]


async def test_copies_of_a_request_sent_at_the_same_moment_make_one_order(
    callers: list[aiohttp.ClientSession], books: Engine
) -> None:
    drop_id = f"twice-{uuid4().hex}"
    await books.create_drop(drop_id, items={"M": 1000})
    for turn in range(25):
        keys = [f"{turn}-{n}" for n in range(len(callers) // 2)]
        answers = await asyncio.gather(
            *(
                post(caller, raw(drop_id=drop_id), {**JSON, "Idempotency-Key": key})
                for caller, key in zip(callers, [*keys, *reversed(keys)], strict=True)
            )
        )
        assert [status for status, _, _ in answers] == [202] * len(callers)
        for n, one in enumerate(answers[: len(keys)]):
            other = answers[-1 - n]
            assert one[1] == other[1]
            assert ("Idempotency-Replayed" in one[2]) != ("Idempotency-Replayed" in other[2])
    assert await books.count(f"orders WHERE drop_id = '{drop_id}'") == 25 * len(callers) // 2


async def test_different_requests_sent_under_one_key_at_the_same_moment_make_one_order(
    callers: list[aiohttp.ClientSession], books: Engine
) -> None:
    drop_id = f"twice-{uuid4().hex}"
    await books.create_drop(drop_id, items={"M": 1000})
    for turn in range(25):
        answers = await asyncio.gather(
            *(
                post(
                    caller, raw(drop_id=drop_id, customer={"id": f"c-{n % 2}"}), {**JSON, "Idempotency-Key": str(turn)}
                )
                for n, caller in enumerate(callers)
            )
        )
        winner = next(n % 2 for n, (status, _, _) in enumerate(answers) if status == 202)
        assert [status for status, _, _ in answers] == [202 if n % 2 == winner else 422 for n in range(len(callers))]
        assert len({body["order_id"] for status, body, _ in answers if status == 202}) == 1
        assert sum("Idempotency-Replayed" not in headers for status, _, headers in answers if status == 202) == 1
    assert await books.count(f"orders WHERE drop_id = '{drop_id}'") == 25
