"""The checker of documents refuses what differs from a type in anything, and tells what was never seen."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

import pytest

from tests.typed import marks, seen


class Part(TypedDict):
    outcome: Literal["ok", "bad"]
    count: NotRequired[int]


class Whole(TypedDict):
    name: str | None
    parts: list[Part]
    rest: dict[str, Any]


GOOD: dict[str, Any] = {"name": "a", "parts": [{"outcome": "ok"}, {"outcome": "bad", "count": 1}], "rest": {"x": []}}


def test_what_fits_shows_what_it_holds() -> None:
    assert set(marks(Whole)) - set(seen(GOOD, Whole)) == {(".name", "NoneType")}
    assert set(marks(Whole)) - set(seen({**GOOD, "name": None, "parts": []}, Whole)) == {
        (".name", "str"),
        (".parts[].outcome", "ok"),
        (".parts[].outcome", "bad"),
        (".parts[].count", "int"),
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {**GOOD, "more": 1},
        {name: value for name, value in GOOD.items() if name != "rest"},
        {**GOOD, "name": 1},
        {**GOOD, "rest": []},
        {**GOOD, "rest": None},
        {**GOOD, "parts": {}},
        {**GOOD, "parts": [{}]},
        {**GOOD, "parts": [{"outcome": "other"}]},
        {**GOOD, "parts": [{"outcome": "ok", "count": True}]},
        {**GOOD, "parts": [{"outcome": "ok", "count": None}]},
        [],
    ],
)
def test_what_differs_in_anything_is_refused(wrong: Any) -> None:
    with pytest.raises(AssertionError):
        list(seen(wrong, Whole))


def test_true_is_not_one() -> None:
    with pytest.raises(AssertionError):
        list(seen(True, Literal[1]))
