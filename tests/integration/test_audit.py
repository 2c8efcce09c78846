"""The audit finds books that were broken by hand, each kind of breakage."""

from __future__ import annotations

from uuid import uuid4

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


@pytest.mark.parametrize(
    "breakage",
    [
        "UPDATE payments SET state = 'due' WHERE state = 'captured'",
        "UPDATE payments SET captured_minor = 0 WHERE refunded_minor = 0",
        "UPDATE payments SET refunded_minor = 1 WHERE order_id = (SELECT id FROM orders WHERE status = 'confirmed')",
        "UPDATE payments SET state = 'action_required' WHERE state = 'due'",
        "UPDATE payments SET amount_minor = 9 WHERE state = 'due'",
        "DELETE FROM payments WHERE state = 'due'",
        "DELETE FROM payments WHERE state = 'captured'",
        "DELETE FROM refunds",
        "UPDATE refunds SET amount_minor = 4",
        "UPDATE orders SET status = 'confirmed' WHERE status = 'reserved'",
        "UPDATE orders SET status = 'expired' WHERE status = 'confirmed'",
        "UPDATE orders SET status = 'confirmed' WHERE status = 'refunded'",
        "INSERT INTO payments (order_id, drop_id, amount_minor) VALUES (gen_random_uuid(), 'drop', 5)",
        "INSERT INTO refunds (id, order_id, amount_minor, reason)"
        " SELECT gen_random_uuid(), order_id, 6, 'operator' FROM payments WHERE state = 'captured'",
        "INSERT INTO ledger (drop_id, sku, order_id, kind, quantity)"
        " SELECT drop_id, 'M', id, 'restock', 1 FROM orders WHERE status = 'confirmed'",
        "DELETE FROM ledger WHERE kind = 'restock'",
    ],
)
async def test_every_kind_of_broken_payment_is_found(engine: Engine, breakage: str) -> None:
    await engine.create_drop(price=5)
    due, paid, refunded = (order(key, payable=True, request={"payment_method": "pm"}) for key in ("a", "b", "c"))
    await engine.accept(due, paid, refunded)
    await engine.reserve(paid["order_id"], refunded["order_id"])
    for one in (paid, refunded):
        fact = {"order_id": one["order_id"], "provider_ref": f"pi-{one['order_id']}"}
        captured = {**fact, "outcome": "captured", "captured_minor": 5}
        await engine.call("settle_payments", [{**fact, "outcome": "created"}, captured])
    refund = {"refund_id": str(uuid4()), "order_id": refunded["order_id"], "restock": True}
    await engine.call("request_refund", refund)
    done = {"refund_id": refund["refund_id"], "outcome": "succeeded", "provider_ref": "re"}
    await engine.call("settle_refunds", [done])
    await engine.reserve(due["order_id"])
    assert await engine.violations() == []
    await engine.connection.execute(breakage)
    assert await engine.violations() != []


async def test_money_of_an_order_that_is_over_must_be_on_its_way_back(engine: Engine) -> None:
    await engine.create_drop(price=5)
    await engine.accept(order("a", payable=True, request={"payment_method": "pm"}))
    one = order("a")["order_id"]
    await engine.reserve(one)
    fact = {"order_id": one, "provider_ref": "pi"}
    declined = {**fact, "outcome": "declined", "reason": "card_declined"}
    captured = {**fact, "outcome": "captured", "captured_minor": 5}
    assert await engine.call("settle_payments", [{**fact, "outcome": "created"}, declined, captured])
    assert await engine.violations() == []
    await engine.connection.execute("UPDATE refunds SET state = 'failed'")
    assert await engine.violations() != []


async def test_the_database_itself_refuses_to_oversell(engine: Engine) -> None:
    await engine.create_drop()
    with pytest.raises(Exception, match="items_never_oversold"):
        await engine.connection.execute("UPDATE items SET sold = stock + 1")
