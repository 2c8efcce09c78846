"""Bodies that are wrong in every field and at every level: the right refusal, nothing stored."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import Engine
from tests.contract.calls import post

FULL: dict[str, Any] = {
    "drop_id": "open",
    "customer": {"id": "c", "email": "a@example.com"},
    "items": [{"sku": "M", "quantity": 1}],
    "payment_method": "pm_card_visa",
    "expected_amount_minor": 0,
    "shipping": {"name": "A", "address": {"city": "B"}},
    "metadata": {"utm": "x"},
}
Path = tuple[str | int, ...]
TEXTS: list[Path] = [
    ("drop_id",),
    ("customer", "id"),
    ("customer", "email"),
    ("items", 0, "sku"),
    ("payment_method",),
    ("shipping", "name"),
    ("shipping", "address", "city"),
    ("metadata", "utm"),
]
NUMBERS: list[Path] = [("items", 0, "quantity"), ("expected_amount_minor",)]
OBJECTS: list[Path] = [
    ("customer",),
    ("items",),
    ("items", 0),
    ("shipping",),
    ("shipping", "address"),
    ("metadata",),
]
ABSENT_OR_NULL = [
    ("customer", "email"),
    ("payment_method",),
    ("expected_amount_minor",),
    *OBJECTS[3:],
    ("shipping", "name"),
]
DEEP = "[" * 30_000
VALUES = {  # what stands where something else should, as JSON
    "null": "null",
    "true": "true",
    "false": "false",
    "a text": '"x"',
    "a number": "1",
    "a fraction": "1.5",
    "an empty list": "[]",
    "an empty object": "{}",
    "a list in a list": "[[1]]",
    "an object": '{"x": "y"}',
}
BAD_TEXTS = {
    "NUL": r'"a\u0000b"',
    "a line feed": r'"a\nb"',
    "DEL": '"a\x7fb"',
    "a C1 control": r'"a\u0085b"',
    "256 characters": json.dumps("x" * 256),
    "a high surrogate": r'"\ud800"',
    "a low surrogate": r'"a\udfffb"',
    "surrogates the wrong way round": r'"\ude00\ud83d"',
}
BAD_NUMBERS = {
    "10**400": "1" + "0" * 400,
    "-10**400": "-1" + "0" * 400,
    "60,000 digits": "9" * 60_000,
    "1e400": "1e400",
    "1e-3": "1e-3",
    "1e19": "1e19",
    "2**63": str(2**63),
    "2**64 + 1": str(2**64 + 1),
    "-1": "-1",
    "1.5": "1.5",
    "a text": '"1"',
    "true": "true",
}
NO_JSON = {
    "nothing": b"",
    "spaces": b"  \n",
    "a raw surrogate": b'{"drop_id": "\xed\xa0\x80"}',
    "an overlong slash": b'{"drop_id": "\xc0\xaf"}',
    "a byte that starts nothing": b'{"drop_id": "\xff"}',
    "a raw NUL": b'{"drop_id": "a\x00b"}',
    "a raw line feed": b'{"drop_id": "a\nb"}',
    "NaN": b'{"quantity": NaN}',
    "Infinity": b'{"quantity": -Infinity}',
    "a leading zero": b'{"quantity": 01}',
    "a plus": b'{"quantity": +1}',
    "a bare point": b'{"quantity": 1.}',
    "hexadecimal": b'{"quantity": 0x1}',
    "quotes of another kind": b"{'drop_id': 'open'}",
    "a comma too many": b'{"drop_id": "open",}',
    "a comment": b'{"drop_id": "open"} // hello',
    "two documents": b"{} {}",
    "half an escape": b'{"drop_id": "\\u12"}',
    "deep lists": DEEP.encode(),
    "deep objects": b'{"a":' * 12_000,
}


def put(path: Path, value: str) -> bytes:
    """The full request with JSON of one's own in one place."""
    document = json.loads(json.dumps(FULL))
    target = document
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = "@@"
    return json.dumps(document).replace('"@@"', value).encode()


def named(path: Path) -> str:
    return ".".join(map(str, path))


WRONG_TYPES = [
    (path, value)
    for paths, right in ((TEXTS, {"a text"}), (NUMBERS, {"a number"}), (OBJECTS, {"an object", "an empty object"}))
    for path in paths
    for value in VALUES.keys() - right
    if not (value == "null" and path in ABSENT_OR_NULL)
]


async def refused(http: aiohttp.ClientSession, books: Engine, body: bytes, name: str) -> dict[str, Any]:
    stored = await books.count("orders")
    status, problem, _ = await post(http, body)
    assert (status, problem["type"]) == (422 if name == "invalid-request" else 400, f"/problems/{name}")
    assert await books.count("orders") == stored
    return problem


@pytest.mark.parametrize(
    ("path", "value"), sorted(WRONG_TYPES, key=str), ids=lambda part: named(part) if isinstance(part, tuple) else part
)
async def test_a_wrong_type_is_refused_by_its_field(
    http: aiohttp.ClientSession, books: Engine, path: Path, value: str
) -> None:
    problem = await refused(http, books, put(path, VALUES[value]), "invalid-request")
    assert all(error["field"].startswith(named(path)) for error in problem["errors"])


@pytest.mark.parametrize("value", BAD_TEXTS)
@pytest.mark.parametrize("path", TEXTS, ids=named)
async def test_a_text_that_no_field_takes_is_refused(
    http: aiohttp.ClientSession, books: Engine, path: Path, value: str
) -> None:
    problems = {(400, "/problems/malformed-json"), (422, "/problems/invalid-request")}
    stored = await books.count("orders")
    status, problem, _ = await post(http, put(path, BAD_TEXTS[value]))
    # half a surrogate pair is JSON to some and none to others (RFC 8259, section 8.2)
    assert (status, problem["type"]) in (
        problems if "surrogate" in value else problems - {(400, "/problems/malformed-json")}
    )
    assert await books.count("orders") == stored


@pytest.mark.parametrize("value", BAD_TEXTS)
@pytest.mark.parametrize(
    "path", [(), ("customer",), ("items", 0), ("shipping",), ("shipping", "address"), ("metadata",)], ids=named
)
async def test_a_name_that_no_field_has_is_refused(
    http: aiohttp.ClientSession, books: Engine, path: Path, value: str
) -> None:
    at = put(path, '{"@": "x"}') if path else b'{"@": "x"}'
    stored = await books.count("orders")
    status, problem, _ = await post(http, at.replace(b'"@"', BAD_TEXTS[value].encode()))
    assert status in ((400, 422) if "surrogate" in value else (422,))
    assert problem["type"] in ("/problems/malformed-json", "/problems/invalid-request")
    assert await books.count("orders") == stored


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("path", NUMBERS, ids=named)
async def test_a_number_that_no_field_takes_is_refused(
    http: aiohttp.ClientSession, books: Engine, path: Path, value: str
) -> None:
    await refused(http, books, put(path, BAD_NUMBERS[value]), "invalid-request")


@pytest.mark.parametrize("value", ["1", "1.0", "1e0", "10e-1", "0.1e1"])
async def test_a_whole_number_counts_however_it_is_written(http: aiohttp.ClientSession, value: str) -> None:
    status, _, _ = await post(http, put(("items", 0, "quantity"), value))
    assert status == 202


@pytest.mark.parametrize("value", ["0", "-0", "0.0", "-0.0", "0e9"])
async def test_nought_counts_however_it_is_written(http: aiohttp.ClientSession, value: str) -> None:
    status, _, _ = await post(http, put(("expected_amount_minor",), value))
    assert status == 202


@pytest.mark.parametrize("path", [*TEXTS, *NUMBERS, *OBJECTS], ids=named)
async def test_nesting_without_an_end_is_refused(http: aiohttp.ClientSession, books: Engine, path: Path) -> None:
    await refused(http, books, put(path, DEEP + "]" * 30_000), "malformed-json")


@pytest.mark.parametrize("path", [*TEXTS, *NUMBERS, *OBJECTS], ids=named)
async def test_nesting_of_a_hundred_levels_is_a_wrong_type(
    http: aiohttp.ClientSession, books: Engine, path: Path
) -> None:
    await refused(http, books, put(path, '{"a":[' * 50 + "]}" * 50), "invalid-request")


@pytest.mark.parametrize("path", [("",), *OBJECTS[:1], *OBJECTS[2:], ("unknown",)], ids=named)
async def test_a_name_twice_is_refused_at_every_level(http: aiohttp.ClientSession, books: Engine, path: Path) -> None:
    twice = r'{"id": "a", "sku": "b", "i\u0064": "a"}'
    await refused(http, books, put(path, twice) if path != ("",) else twice.encode(), "malformed-json")


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
async def test_what_is_no_json_is_refused(http: aiohttp.ClientSession, books: Engine, body: bytes) -> None:
    await refused(http, books, body, "malformed-json")


@pytest.mark.parametrize("body", [b"null", b"true", b"1", b"1e400", b'"x"', b"[]", b"{}", b"[{}]"])
async def test_json_that_is_no_request_is_refused(http: aiohttp.ClientSession, books: Engine, body: bytes) -> None:
    await refused(http, books, body, "invalid-request")


@pytest.mark.parametrize(
    "items",
    [
        [("M", 1), ("M", 1)],
        [("M", 1), ("L", 1), ("M", 2)],
        [(f"S{n}", 1) for n in range(21)],
        [("M", 1001)],
        [("M", 0)],
    ],
    ids=["a sku twice", "a sku twice, apart", "21 lines", "1,001 units", "no unit"],
)
async def test_lines_out_of_bounds_are_refused(
    http: aiohttp.ClientSession, books: Engine, items: list[tuple[str, int]]
) -> None:
    lines = json.dumps([{"sku": sku, "quantity": quantity} for sku, quantity in items])
    await refused(http, books, put(("items",), lines), "invalid-request")
