"""set_drop_state: which states follow which, and that a caller can narrow down where from."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Engine

FOLLOWS = {"draft": {"live", "ended"}, "live": {"paused", "ended"}, "paused": {"live", "ended"}, "ended": set[str]()}


async def change(engine: Engine, before: str, after: str, **narrowed: Any) -> tuple[str, str]:
    """The outcome for a drop that was `before`, and the state that it has then."""
    await engine.create_drop(state=before)
    told = await engine.call("set_drop_state", {"drop_id": "drop", "state": after, **narrowed})
    assert told["state"] == before
    return told["outcome"], str(await engine.connection.fetchval("SELECT state FROM drops"))


@pytest.mark.parametrize("before", FOLLOWS)
@pytest.mark.parametrize("after", FOLLOWS)
async def test_a_state_follows_only_some(engine: Engine, before: str, after: str) -> None:
    expected = ("unchanged" if before == after else "not_allowed", before)
    assert await change(engine, before, after) == (("ok", after) if after in FOLLOWS[before] else expected)


@pytest.mark.parametrize(
    ("before", "after", "from_states", "outcome"),
    [
        ("draft", "live", ["draft"], "ok"),
        ("paused", "live", ["draft"], "not_allowed"),
        ("draft", "live", ["paused"], "not_allowed"),
        ("paused", "live", ["paused"], "ok"),
        ("live", "live", ["paused"], "unchanged"),
        ("live", "ended", ["draft", "live", "paused"], "ok"),
        ("draft", "paused", ["draft"], "not_allowed"),
        ("ended", "live", ["ended"], "not_allowed"),
        ("live", "ended", [], "not_allowed"),
    ],
)
async def test_from_states_narrow_the_change_down_and_never_widen_it(
    engine: Engine, before: str, after: str, from_states: list[str], outcome: str
) -> None:
    found = await change(engine, before, after, from_states=from_states)
    assert found == (outcome, after if outcome == "ok" else before)
