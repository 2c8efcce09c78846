"""`merchdrop drop resume` of a drop whose books don't agree, and what `merchdrop audit` says of it afterwards."""

from __future__ import annotations

import asyncio
import getpass
import json

import pytest

from tests.command import fail, run, succeed, tell
from tests.conftest import Engine

FORCE = ("drop", "resume", "drop", "--force", "--reason", "a lost delivery")


async def broken(engine: Engine, state: str = "paused") -> None:
    await engine.create_drop(items={"M": 3, "L": 3})
    await engine.connection.execute(
        f"UPDATE items SET sold = sold + 1 WHERE sku = 'M'; UPDATE drops SET state = '{state}'"
    )


async def state(engine: Engine) -> str:
    return str(await engine.connection.fetchval("SELECT state FROM drops"))


async def test_a_broken_drop_is_not_resumed_and_the_way_on_is_told(engine: Engine) -> None:
    await broken(engine)
    told = await asyncio.to_thread(fail, "drop", "resume", "drop", url=engine.url)
    for words in (
        "1 violation(s) that nobody has accepted",
        "merchdrop audit drop",
        "resume drop --force --reason TEXT",
    ):
        assert words in told, told
    assert (await state(engine), await engine.count("accepted_violations")) == ("paused", 0)


async def test_whoever_answers_for_it_resumes_it_and_is_named(engine: Engine) -> None:
    await broken(engine)
    told = await asyncio.to_thread(succeed, *FORCE, url=engine.url)
    assert "1 violation accepted" in told
    assert "drop is live (was paused)" in told
    result = await asyncio.to_thread(run, "audit", url=engine.url)
    assert result.exit_code == 0
    assert f"by {getpass.getuser()} (database user" in result.stdout
    assert "; a lost delivery" in result.stdout
    assert "1 violation (1 accepted), 0 late orders" in result.stdout
    (row,) = (await asyncio.to_thread(tell, "audit", "drop", url=engine.url))["violations"]
    assert (row["reason"], row["os_user"]) == ("a lost delivery", getpass.getuser())
    await asyncio.to_thread(succeed, "drop", "pause", "drop", url=engine.url)
    assert "is live" in await asyncio.to_thread(succeed, "drop", "resume", "drop", url=engine.url)


async def test_one_accepted_violation_does_not_cover_another(engine: Engine) -> None:
    await broken(engine)
    await asyncio.to_thread(succeed, *FORCE, url=engine.url)
    await engine.connection.execute(
        "UPDATE items SET sold = sold + 1 WHERE sku = 'L'; UPDATE drops SET state = 'paused'"
    )
    result = await asyncio.to_thread(run, "audit", "--json", url=engine.url)
    assert result.exit_code == 1
    assert [row["accepted_at"] is None for row in json.loads(result.stdout)["violations"]] == [True, False]
    assert "1 violation(s)" in await asyncio.to_thread(fail, "drop", "resume", "drop", url=engine.url)


async def test_the_violations_of_an_ended_drop_can_be_accepted(engine: Engine) -> None:
    await broken(engine, "ended")
    assert "has ended, and stays so" in await asyncio.to_thread(succeed, *FORCE, url=engine.url)
    assert (await state(engine), await engine.count("accepted_violations")) == ("ended", 1)


@pytest.mark.parametrize("arguments", [("--force",), ("--reason", "why"), ("--force", "--reason", " ")])
async def test_force_needs_a_reason(engine: Engine, arguments: tuple[str, ...]) -> None:
    await broken(engine)
    assert "reason" in await asyncio.to_thread(fail, "drop", "resume", "drop", *arguments, url=engine.url, status=2)
    assert await state(engine) == "paused"
