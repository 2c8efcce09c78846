"""The engine: tables, SQL functions, views, roles."""

from migrations.script import apply, statements

revision = "0001"
down_revision = None

TABLES = (
    "rejected_messages",
    "events",
    "ledger",
    "payment_pace",
    "refunds",
    "payments",
    "customer_limits",
    "order_lines",
    "orders",
    "items",
    "drops",
)
FUNCTIONS = (
    "accept_orders",
    "admit_orders",
    "write_decisions",
    "reserve_orders",
    "lock_orders",
    "move_order",
    "release_orders",
    "claim_payments",
    "settle_payments",
    "expire_holds",
    "request_refund",
    "claim_refunds",
    "finish_refund",
    "settle_refunds",
    "claim_waiting_orders",
    "mark_unpublished",
    "reject_messages",
    "create_drop",
    "set_drop_state",
    "restock_item",
)


def upgrade() -> None:
    for name in ("tables", "views", *FUNCTIONS, "grants"):
        apply(name)


def downgrade() -> None:
    statements("DROP VIEW late_orders, audit_violations, waiting_payments, shown_refunds, shown_payments")
    statements("DROP VIEW shown_orders, shown_drops")
    for name in FUNCTIONS:
        statements(f"DROP FUNCTION {name}")
    statements("DROP TYPE wanted_line, decision")
    statements(f"DROP TABLE {', '.join(TABLES)}")
