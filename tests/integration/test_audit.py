"""The audit finds books that were broken by hand, each kind of breakage."""

from __future__ import annotations

from typing import Any
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
        "UPDATE payments SET due_at = NULL WHERE state = 'due'",
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


async def test_money_that_nobody_will_send_back_is_found(engine: Engine) -> None:
    await engine.create_drop(price=5)
    one = order("a", payable=True, request={"payment_method": "pm"})
    await engine.accept(one)
    await engine.reserve(one["order_id"])
    fact = {"order_id": one["order_id"], "provider_ref": "pi"}
    await engine.call("settle_payments", [{**fact, "outcome": "created"}, {**fact, "outcome": "cancelled"}])
    late = await engine.call("settle_payments", [{**fact, "outcome": "captured", "captured_minor": 5}])
    assert late[0]["outcome"] == "refund_due"
    assert await engine.violations() == []
    await engine.connection.execute("UPDATE refunds SET due_at = NULL")
    assert await engine.violations() != []


FREE = "ALTER TABLE items DROP CONSTRAINT items_never_oversold; "  # what else would stand in the way


@pytest.mark.parametrize(
    ("breakage", "promise", "told"),
    [
        (
            "UPDATE items SET sold = sold + 1",
            1,
            "M: the counters are ahead of the ledger by stock 0, reserved 0, sold 1",
        ),
        (FREE + "UPDATE items SET stock = 1", 1, "M: 1 units too many are given away, reserved is 0 below 0, sold 0"),
        (
            FREE + "UPDATE items SET reserved = -1",
            1,
            "M: 0 units too many are given away, reserved is 1 below 0, sold 0",
        ),
        (
            "DELETE FROM ledger WHERE kind = 'sell'",
            1,
            "M: the ledger is ahead of this order by 0 reserved, 0 released, -2 sold; 0 restocked",
        ),
        ("UPDATE orders SET drop_id = 'other'", 1, "M: the ledger moves 2 units (sell) that nobody asked for"),
        (
            "INSERT INTO ledger (drop_id, sku, kind, quantity) VALUES ('drop', 'XS', 'stock', 5)",
            1,
            "XS: the ledger moves 5 units (stock) that nobody asked for",
        ),
        (
            "UPDATE ledger SET kind = 'stock', quantity = 1 WHERE kind = 'sell'",
            1,
            "M: the ledger moves 1 units (stock) that nobody",
        ),
        ("UPDATE orders SET amount_minor = 7", 2, "amount is 7, its lines cost 0"),
        (
            "UPDATE orders SET amount_minor = 7",
            2,
            "is confirmed, its payment is missing; captured 0 and refunded 0 of 7",
        ),
        ("DELETE FROM order_lines", 2, "amount is 0, its lines cost 0"),
        (
            "UPDATE customer_limits SET quantity = 3",
            1,
            "the limit of this order's customer is 1 units ahead of his orders",
        ),
        ("DELETE FROM customer_limits", 1, "the limit of this order's customer is -2 units ahead of his orders"),
        ("UPDATE drops SET per_customer_limit = 1", 1, "this order's customer has 2 units, and may have 1"),
        ("DELETE FROM events WHERE seq = 2", 3, "1 of its events are missing, or their numbers are wrong"),
        ("DELETE FROM events WHERE seq = 3", 3, "1 of its events are missing, or their numbers are wrong"),
        ("UPDATE events SET type = 'order.reserved'", 3, "is confirmed, its last event is order.reserved"),
    ],
)
async def test_a_violation_is_told_by_its_drop(engine: Engine, breakage: str, promise: int, told: str) -> None:
    await engine.create_drop(per_customer_limit=5, items={"M": 3})
    await engine.create_drop("other", per_customer_limit=5)
    await engine.accept(order("a", {"M": 2}))
    await engine.reserve(order("a")["order_id"])
    assert await engine.violations() == []
    await engine.connection.execute(breakage)
    found = await engine.connection.fetch("SELECT * FROM audit_violations WHERE drop_id = 'drop'")
    assert [row["promise"] for row in found if row["violation"].startswith(told)] == [promise]
    everywhere = [tuple(row) for row in await engine.violations() if row["drop_id"] == "drop"]
    assert sorted(map(tuple, found), key=str) == sorted(everywhere, key=str)
    assert "customer-a" not in str(everywhere)


async def test_an_order_of_no_drop_is_found(engine: Engine) -> None:
    await engine.create_drop()
    await engine.accept(order("a"))
    assert await engine.connection.fetch("SELECT * FROM missing_drops") == []
    await engine.connection.execute("UPDATE orders SET drop_id = 'gone'")
    assert [row["violation"] for row in await engine.violations()] == ["belongs to a drop that does not exist"]
    assert [row["drop_id"] for row in await engine.connection.fetch("SELECT * FROM missing_drops")] == ["gone"]


async def test_a_payment_of_another_drop_is_found(engine: Engine) -> None:
    await engine.create_drop(price=5)
    await engine.accept(order("a", payable=True, request={"payment_method": "pm"}))
    await engine.reserve(order("a")["order_id"])
    await engine.connection.execute("UPDATE payments SET drop_id = 'other'")
    assert [row["violation"] for row in await engine.violations()] == ["a payment without an order"]


async def test_a_violation_keeps_its_words_while_the_sale_goes_on(engine: Engine) -> None:
    """Or accepting it would last until the next order."""
    await engine.create_drop(per_customer_limit=5, items={"M": 9})
    await engine.accept(order("a", customer="c"), order("b", customer="c"))
    await engine.reserve(order("a")["order_id"])
    await engine.connection.execute("UPDATE items SET sold = sold + 1; UPDATE customer_limits SET quantity = 2")
    before = await engine.violations()
    assert len(before) == 2
    await engine.reserve(order("b")["order_id"])
    assert await engine.violations() == before


async def test_a_violation_of_an_order_keeps_its_words_while_the_order_moves(engine: Engine) -> None:
    """Payments go on while a drop is paused, and refunds come later."""
    await engine.create_drop(price=5)
    one = order("a", payable=True, request={"payment_method": "pm"})
    await engine.accept(one)
    await engine.reserve(one["order_id"])
    await engine.connection.execute("DELETE FROM events WHERE seq = 2; DELETE FROM ledger WHERE kind = 'reserve'")
    before = {row["violation"] for row in await engine.violations()}
    fact = {"order_id": one["order_id"], "provider_ref": "pi"}
    captured = {**fact, "outcome": "captured", "captured_minor": 5}
    assert (await engine.call("settle_payments", [{**fact, "outcome": "created"}, captured]))[1][
        "outcome"
    ] == "confirmed"
    assert {row["violation"] for row in await engine.violations()} == {
        text for text in before if not text.startswith("is reserved, its last event")
    }
    assert len(before) == 4


async def test_the_audit_of_a_drop_reads_the_rows_of_that_drop_alone(engine: Engine) -> None:
    """Beside a drop that is fifty times as large, on a connection with reconcile's settings."""
    few, many = 40, 2_000
    for drop_id, count in (("few", few), ("many", many)):
        await engine.create_drop(drop_id, items={"M": count}, price=5, per_customer_limit=9)
        fields: dict[str, Any] = {"drop_id": drop_id, "payable": True, "request": {"payment_method": "pm"}}
        for start in range(0, count, 500):
            batch = [order(f"key-{number}", **fields) for number in range(start, min(start + 500, count))]
            await engine.accept(*batch)
            await engine.reserve(*(one["order_id"] for one in batch))
    await engine.connection.execute("ANALYZE; SET enable_seqscan = off")
    read = "SELECT sum(seq_tup_read + idx_tup_fetch)::integer FROM pg_stat_xact_user_tables"
    async with engine.connection.transaction():
        before = await engine.connection.fetchval(read)
        assert await engine.connection.fetch("SELECT * FROM judged_violations WHERE drop_id = 'few'") == []
        assert await engine.connection.fetchval(read) - before < many


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
