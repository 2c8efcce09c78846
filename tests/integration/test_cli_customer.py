"""`merchdrop customer erase`: it asks first, and says what is left and until when."""

from __future__ import annotations

import asyncio

from tests.command import COLUMNS, run, succeed, tell
from tests.conftest import Engine, order

ERASE = ("customer", "erase", "ann")


async def bought(engine: Engine) -> None:
    await engine.create_drop()
    await engine.accept(order("a", customer="ann"), order("b", customer="ann"))
    await engine.reserve(order("a")["order_id"])


async def left(engine: Engine) -> int:
    return await engine.count("orders WHERE customer_id = 'ann'")


async def test_nothing_is_erased_without_a_yes(engine: Engine) -> None:
    await bought(engine)
    result = await asyncio.to_thread(run, *ERASE, url=engine.url, answer="n\n")
    assert (result.exit_code, await left(engine)) == (1, 2)


async def test_what_stays_is_told_with_the_way_to_get_rid_of_it(engine: Engine) -> None:
    await bought(engine)
    told = await asyncio.to_thread(succeed, *ERASE, "--yes", url=engine.url)
    words = " ".join(told.split())
    assert "open 1 not decided yet" in words
    assert "unshipped 1 confirmed, the address is needed: run this again with --shipped" in words
    assert max(map(len, told.splitlines())) <= COLUMNS
    await engine.reserve(order("b")["order_id"])
    counts = await asyncio.to_thread(tell, *ERASE, "--yes", "--shipped", url=engine.url)
    assert (counts["erased"], await left(engine)) == (2, 0)


async def test_an_unknown_customer_is_told_to_be(engine: Engine) -> None:
    await bought(engine)
    told = await asyncio.to_thread(succeed, "customer", "erase", "nobody", "--yes", url=engine.url)
    assert told == "No order and no message names this customer.\n"
    assert await left(engine) == 2
