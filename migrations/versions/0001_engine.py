"""The engine: tables, SQL functions, views, roles."""

from migrations.script import apply, statements

revision = "0001"
down_revision = None

TABLES = (
    "accepted_violations",
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
    "touch_drops",
    "close_drops",
    "is_over",
    "claim_audit",
    "record_audit",
    "accept_violations",
    "forget_customers",
    "erase_personal_data",
    "erase_customer",
    "percentiles",
    "report_drop",
    "claim_events",
    "mark_events_published",
    "retry_messages",
    "finish_retries",
    "drop_messages",
)


def upgrade() -> None:
    for name in ("tables", "views", *FUNCTIONS, "grants"):
        apply(name)


def downgrade() -> None:
    statements("DROP VIEW missing_drops, judged_violations")
    statements("DROP VIEW late_orders, audit_violations, waiting_payments, shown_refunds, shown_payments")
    statements("DROP VIEW shown_orders, shown_drops, shown_messages")
    for name in FUNCTIONS:
        statements(f"DROP FUNCTION {name}")
    statements("DROP TYPE wanted_line, decision")
    statements(f"DROP TABLE {', '.join(TABLES)}")
