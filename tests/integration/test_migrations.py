"""Migrations go up and down; roles may do what they need, and nobody may touch stock."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from local.postgres import Postgres
from migrations.run import downgrade, upgrade
from tests.conftest import Engine

INTERNAL = (  # called by the others alone
    "write_decisions",
    "lock_orders",
    "move_order",
    "finish_refund",
    "touch_drops",
    "is_over",
    "forget_customers",
    "percentiles",
)
PAYMENT_ROLES = {"merchdrop_charge_order", "merchdrop_reconcile", "merchdrop_operator"}
FUNCTIONS: dict[str, set[str]] = {
    "accept_orders": {"merchdrop_checkout"},
    "release_orders": {"merchdrop_checkout", "merchdrop_operator"},
    "reserve_orders": {"merchdrop_process_order", "merchdrop_reconcile"},
    "admit_orders": {"merchdrop_process_order", "merchdrop_reconcile"},
    "mark_unpublished": {"merchdrop_checkout", "merchdrop_reconcile"},
    "reject_messages": {"merchdrop_process_order", "merchdrop_charge_order", "merchdrop_reconcile"},
    "claim_payments": PAYMENT_ROLES,
    "settle_payments": PAYMENT_ROLES,
    "claim_refunds": PAYMENT_ROLES,
    "settle_refunds": PAYMENT_ROLES,
    "expire_holds": {"merchdrop_reconcile"},
    "request_refund": {"merchdrop_operator"},
    "claim_waiting_orders": {"merchdrop_reconcile"},
    "create_drop": {"merchdrop_operator"},
    "set_drop_state": {"merchdrop_operator"},
    "restock_item": {"merchdrop_operator"},
    "close_drops": {"merchdrop_reconcile"},
    "claim_audit": {"merchdrop_reconcile"},
    "record_audit": {"merchdrop_reconcile"},
    "erase_personal_data": {"merchdrop_reconcile"},
    "accept_violations": {"merchdrop_operator"},
    "erase_customer": {"merchdrop_operator"},
    "report_drop": {"merchdrop_operator"},
    "claim_events": {"merchdrop_reconcile"},
    "mark_events_published": {"merchdrop_reconcile"},
    "retry_messages": {"merchdrop_operator"},
    "finish_retries": {"merchdrop_reconcile"},
    "drop_messages": {"merchdrop_operator"},
    **{name: set() for name in INTERNAL},
}


async def test_down_leaves_nothing_and_up_brings_it_back(engine: Engine) -> None:
    await asyncio.to_thread(downgrade, engine.url, "base")
    left = await engine.connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic%'"
    )
    assert left == []
    await asyncio.to_thread(upgrade, engine.url)
    await engine.create_drop()


async def test_an_owner_who_may_make_no_roles_migrates_where_there_are_some(
    postgres: Postgres, template: str, engine: Engine
) -> None:
    name = f"plain_{uuid4().hex}"
    await engine.connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'plain'")
    await engine.connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    await asyncio.to_thread(upgrade, postgres.url(name, name, "plain"))
    owner = await asyncpg.connect(postgres.url(name))
    assert await owner.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'") == name
    await owner.close()
    await engine.connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await engine.connection.execute(f"DROP ROLE {name}")


async def test_each_role_may_call_its_own_functions_only(engine: Engine) -> None:
    roles = set().union(*FUNCTIONS.values())
    rows = await engine.connection.fetch(
        "SELECT proname, rolname FROM pg_proc, pg_roles WHERE pronamespace = 'public'::regnamespace"
        " AND rolname = ANY ($1) AND has_function_privilege(pg_roles.oid, pg_proc.oid, 'EXECUTE')",
        list(roles),
    )
    granted: dict[str, set[str]] = {name: set() for name in FUNCTIONS}
    for row in rows:
        granted[row["proname"]].add(row["rolname"])
    assert granted == FUNCTIONS


@pytest.mark.parametrize("role", sorted(set().union(*FUNCTIONS.values())))
async def test_no_role_may_write_a_table(engine: Engine, role: str) -> None:
    await engine.create_drop()
    await engine.connection.execute(f"SET ROLE {role}")
    for statement in ("UPDATE items SET sold = 0", "DELETE FROM orders", "SELECT request FROM orders"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await engine.connection.execute(statement)


async def test_every_sql_function_is_sealed_and_takes_and_returns_json(engine: Engine) -> None:
    rows = await engine.connection.fetch(
        "SELECT proname, prosecdef, proconfig, proargtypes::regtype[]::text[] AS takes,"
        " prorettype::regtype::text AS gives FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    assert {row["proname"] for row in rows} == set(FUNCTIONS)
    for row in rows:
        assert row["prosecdef"], row["proname"]
        assert row["proconfig"][0] == "search_path=public, pg_temp", row["proname"]
        if row["proname"] not in INTERNAL:
            assert (row["takes"], row["gives"]) == (["jsonb"], "jsonb"), row["proname"]
