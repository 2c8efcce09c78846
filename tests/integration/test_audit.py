"""The audit finds books that were broken by hand, each kind of breakage."""

from __future__ import annotations

import pytest

from tests.conftest import Engine, order


@pytest.mark.parametrize(
    "breakage",
    [
        "UPDATE items SET sold = sold + 1",
        "UPDATE items SET stock = stock + 1",
        "DELETE FROM ledger WHERE kind = 'sell'",
        "UPDATE orders SET status = 'sold_out'",
        "UPDATE orders SET amount_minor = 7",
        "UPDATE customer_limits SET quantity = 9",
        "DELETE FROM order_lines",
        "DELETE FROM events WHERE seq = 2",
        "UPDATE orders SET drop_id = 'elsewhere'",
    ],
)
async def test_every_kind_of_broken_book_is_found(engine: Engine, breakage: str) -> None:
    await engine.create_drop(per_customer_limit=5)
    await engine.accept(order("a"))
    await engine.reserve(order("a")["order_id"])
    assert await engine.violations() == []
    await engine.connection.execute(breakage)
    assert await engine.violations() != []


async def test_the_database_itself_refuses_to_oversell(engine: Engine) -> None:
    await engine.create_drop()
    with pytest.raises(Exception, match="items_never_oversold"):
        await engine.connection.execute("UPDATE items SET sold = stock + 1")
