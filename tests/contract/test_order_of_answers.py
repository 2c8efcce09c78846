"""A request with several faults is told the first one in the order of the table, whichever the others are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.conftest import Engine
from tests.contract.calls import JSON, post, raw, request


@dataclass
class Attempt:
    """A request without a fault, until faults are put into it."""

    method: str = "POST"
    path: str = "/v1/checkout"
    content_type: str = "application/json"
    keys: list[str] = field(default_factory=lambda: [uuid4().hex])
    document: dict[str, Any] = field(default_factory=request)
    before: str = ""
    after: str = ""

    def line(self, sku: str) -> None:
        self.document["items"].append({"sku": sku, "quantity": 1})


@dataclass(frozen=True)
class Fault:
    """What is wrong, what is said of it, and the part of the request that it takes: two faults can't have one part."""

    problem: str
    status: int
    part: str
    commit: Callable[[Attempt], object]


USED_KEY = "used before"
DROPS = {  # each once open, with an order under USED_KEY, and what came then
    "order-early": "UPDATE drops SET starts_at = '2999-01-01', ends_at = '2999-01-02' WHERE id = $1",
    "order-over": "UPDATE drops SET starts_at = '2000-01-01', ends_at = '2000-01-02' WHERE id = $1",
    "order-ended": "UPDATE drops SET state = 'ended' WHERE id = $1",
    "order-paused": "UPDATE drops SET state = 'paused' WHERE id = $1",
    "order-live": "UPDATE items SET unit_price_minor = 500 WHERE drop_id = $1 AND sku = 'PAID'",
}


def of(drop_id: str) -> Callable[[Attempt], object]:
    return lambda attempt: attempt.document.update(drop_id=drop_id)


def to_be_paid(attempt: Attempt) -> None:
    attempt.line("PAID")
    attempt.document.update(payment_method="pm_card_visa")


FAULTS = {  # in the order of the table
    "unknown path": Fault("not-found", 404, "path", lambda a: setattr(a, "path", "/v1/check-out")),
    "wrong method": Fault("method-not-allowed", 405, "method", lambda a: setattr(a, "method", "PUT")),
    "no JSON": Fault("unsupported-media-type", 415, "type", lambda a: setattr(a, "content_type", "text/json")),
    "too large": Fault("too-large", 413, "before", lambda a: setattr(a, "before", " " * 65_536)),
    "no key": Fault("idempotency-key-missing", 400, "key", lambda a: a.keys.clear()),
    "two keys": Fault("idempotency-key-invalid", 400, "key", lambda a: a.keys.append("another")),
    "malformed": Fault("malformed-json", 400, "after", lambda a: setattr(a, "after", "}")),
    "unknown field": Fault("invalid-request", 422, "field", lambda a: a.document.update(surprise=1)),
    "used key": Fault("idempotency-key-reused", 422, "key", lambda a: setattr(a, "keys", [USED_KEY])),
    "unknown drop": Fault("drop-not-found", 404, "drop", of("order-nowhere")),
    "early": Fault("drop-not-open", 409, "drop", of("order-early")),
    "over": Fault("drop-closed", 410, "drop", of("order-over")),
    "ended": Fault("drop-closed", 410, "drop", of("order-ended")),
    "paused": Fault("drop-paused", 503, "drop", of("order-paused")),
    "unknown sku": Fault("unknown-sku", 422, "unknown", lambda a: a.line("NONE")),
    "other price": Fault("price-changed", 409, "price", lambda a: a.document.update(expected_amount_minor=499)),
    "sold out": Fault("sold-out", 409, "gone", lambda a: a.line("GONE")),
    "to be paid": Fault("payments-unavailable", 503, "paid", to_be_paid),
}


def compatible(first: str, *others: str) -> bool:
    """Whether one request can have all these faults. A drop that never was can't have used a key."""
    names = (first, *others)
    return len({FAULTS[name].part for name in names}) == len(names) and not {"used key", "unknown drop"} <= set(names)


ALONE = [(name,) for name in FAULTS]
PAIRS = [pair for pair in combinations(FAULTS, 2) if compatible(*pair)]


def all_that_follows(first: str) -> tuple[str, ...]:
    """A fault with as many later ones as one request can have."""
    found: tuple[str, ...] = (first,)
    for name in list(FAULTS)[list(FAULTS).index(first) + 1 :]:
        found = (*found, name) if compatible(*found, name) else found
    return found


MANY = [names for names in map(all_that_follows, FAULTS) if len(names) > 2]


@pytest.fixture
async def drops(http: aiohttp.ClientSession, books: Engine) -> None:
    """The drops of this module, made by whichever test comes first."""
    if await books.count("drops WHERE id = 'order-live'"):
        return
    for drop_id, afterwards in DROPS.items():
        await books.create_drop(drop_id, items={"M": 100, "GONE": 0, "PAID": 100})
        status, _, _ = await post(http, raw(drop_id=drop_id), {**JSON, "Idempotency-Key": USED_KEY})
        assert status == 202
        await books.connection.execute(afterwards, drop_id)


@pytest.mark.usefixtures("drops")
@pytest.mark.parametrize("faults", [*ALONE, *PAIRS, *MANY], ids=" + ".join)
async def test_the_first_fault_in_the_order_of_the_table_is_told(
    http: aiohttp.ClientSession, books: Engine, faults: tuple[str, ...]
) -> None:
    attempt = Attempt()
    attempt.document.update(drop_id="order-live", customer={"id": "somebody else"})
    for name in faults:
        FAULTS[name].commit(attempt)
    body = (attempt.before + json.dumps(attempt.document) + attempt.after).encode()
    headers = [("Content-Type", attempt.content_type), *(("Idempotency-Key", key) for key in attempt.keys)]
    stored = await books.count("orders")
    async with http.request(attempt.method, attempt.path, data=body, headers=headers) as response:
        problem = await response.json(content_type=None)
    first = FAULTS[faults[0]]
    assert (response.status, problem["type"]) == (first.status, f"/problems/{first.problem}")
    assert await books.count("orders") == stored


async def test_without_a_fault_the_same_request_is_accepted(http: aiohttp.ClientSession, drops: None) -> None:
    status, _, _ = await post(http, raw(drop_id="order-live", customer={"id": "somebody else"}))
    assert status == 202
