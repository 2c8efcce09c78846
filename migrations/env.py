"""How Alembic connects: bounded waits, one migrator at a time, one transaction for each migration, one owner of all."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from common.connection import connected
from migrations.run import ADVISORY_LOCK

# A migration that waits for a lock makes every buyer behind it wait too: give up soon, and try again later.
LOCK_TIMEOUT_SECONDS = 4
# One statement of a migration; longer work belongs into batches.
STATEMENT_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 10

# What is made belongs to the database's owner, whichever of the owner's members logged in, so that the next migration
# may be another's. In Cloud SQL that owner may make roles, which its members may not: no attribute is inherited.
_BECOME_OWNER = """
SELECT set_config('role', owner.rolname, false)
FROM pg_database JOIN pg_roles owner ON owner.oid = datdba JOIN pg_roles login ON login.rolname = session_user
WHERE datname = current_database() AND NOT login.rolsuper AND pg_has_role(login.oid, owner.oid, 'SET')
"""


def _migrate(connection: Connection) -> None:
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT_SECONDS}s'"))
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
    connection.execute(text(_BECOME_OWNER))
    connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _main() -> None:
    # asyncpg reads the URL itself, as everywhere else: SQLAlchemy takes other forms of it.
    address, command_seconds = context.config.attributes["address"], STATEMENT_TIMEOUT_SECONDS + 5
    async with connected(address, {}, CONNECT_TIMEOUT_SECONDS, command_seconds) as connection:

        async def given() -> asyncpg.Connection[Any]:
            return connection

        engine = create_async_engine("postgresql+asyncpg://", poolclass=pool.NullPool, async_creator=given)
        async with engine.connect() as session:
            await session.run_sync(_migrate)
        await engine.dispose()


asyncio.run(_main())
