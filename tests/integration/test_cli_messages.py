"""`merchdrop messages list|retry|drop` on a real database, with an operator's rights."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.command import COLUMNS, run
from tests.conftest import Engine

BODY = '{"customer": "somebody@example.com"}'


@pytest.fixture
async def url(engine: Engine) -> str:
    """Where an operator finds the database; it has two rejected messages."""
    for number, topic in (("1", "orders"), ("2", "payments")):
        message = {"id": number, "topic": topic, "reason": "malformed", "body": BODY}
        await engine.call("reject_messages", [message])
    return f"{engine.url}?role=merchdrop_operator"


async def messages(url: str, *arguments: str, answer: str = "") -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    result = await asyncio.to_thread(run, "messages", *arguments, url=url, answer=answer)
    return result.exit_code, result.stdout, result.stderr


async def ids(engine: Engine) -> list[str]:
    return [row["id"] for row in await engine.connection.fetch("SELECT id FROM rejected_messages ORDER BY id")]


async def test_a_list_tells_what_and_why_and_nothing_personal(url: str) -> None:
    for options in ((), ("--json",)):
        status, told, _ = await messages(url, "list", *options)
        assert status == 0
        assert "malformed" in told
        assert str(len(BODY)) in told
        assert "example" not in told
        assert options or max(map(len, told.splitlines())) <= COLUMNS
    assert [one["id"] for one in json.loads(told)] == ["2", "1"]


async def test_bodies_are_shown_when_they_are_asked_for(url: str) -> None:
    assert (await messages(url, "list", "--body"))[1].count(BODY) == 2
    shown = json.loads((await messages(url, "list", "--body", "--json"))[1])
    assert [one["body"] for one in shown] == [BODY, BODY]


async def test_an_empty_list_says_so(url: str) -> None:
    await messages(url, "drop", "1", "2", "--yes")
    assert await messages(url, "list") == (0, "There are no rejected messages.\n", "")
    assert json.loads((await messages(url, "list", "--json"))[1]) == []


async def test_a_retry_is_asked_for_and_shown(url: str) -> None:
    status, told, _ = await messages(url, "retry", "1")
    assert (status, told.startswith("1 message to be tried again")) == (0, True)
    shown = json.loads((await messages(url, "list", "--json"))[1])
    assert [one["retry_at"] is not None for one in shown] == [False, True]


async def test_what_can_not_be_tried_again_is_told_and_the_rest_is_asked_for(url: str, engine: Engine) -> None:
    await engine.connection.execute("UPDATE rejected_messages SET body = '' WHERE id = '2'")
    status, told, wrong = await messages(url, "retry", "1", "2", "3")
    assert (status, told.startswith("1 message to be tried again")) == (1, True)
    assert "nothing is left of 2" in wrong
    assert "there is no message 3" in wrong


async def test_dropping_asks_first_and_is_for_good(url: str, engine: Engine) -> None:
    status, told, asked = await messages(url, "drop", "1", answer="n\n")
    assert (status, told) == (1, "")
    assert "Delete 1 message for good?" in asked
    assert await ids(engine) == ["1", "2"]
    assert (await messages(url, "drop", "1", "3", answer="y\n"))[:2] == (0, "1 of 2 messages deleted\n")
    assert json.loads((await messages(url, "drop", "2", "--yes", "--json"))[1]) == {"dropped": 1}
    assert await ids(engine) == []
