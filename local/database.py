"""The engine's database on this machine: schema, one login for each function, and something to sell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from common.drop_contracts import NewDrop
from local.machine import LocalError
from migrations.run import MigrationError, upgrade

DATABASE = "merchdrop"
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 10.0

SAMPLE_DROP: NewDrop = {
    "id": "tee-drop",
    "name": "Tee drop",
    "currency": "USD",
    "state": "live",
    "per_customer_limit": 2,
    "hold_seconds": 600,
    "order_id_key_version": 1,
    "items": [
        {"sku": "TEE-M", "title": "Tee, medium", "unit_price_minor": 3500, "stock": 500},
        {"sku": "TEE-L", "title": "Tee, large", "unit_price_minor": 3500, "stock": 200},
    ],
}
SAMPLE_ORDER = {
    "drop_id": "tee-drop",
    "customer": {"id": "c-1"},
    "items": [{"sku": "TEE-M", "quantity": 1}],
    "payment_method": "pm_card_visa",
    "expected_amount_minor": 3500,
}


async def create_database(server_url: str) -> None:
    """Create the engine's database if the server doesn't have it yet."""
    async with _connected(server_url) as connection:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")


async def migrate(database_url: str, logins: dict[str, str]) -> None:
    """Bring the schema up to date, and give each function (its name: its password) a login with its own rights."""
    try:
        await asyncio.to_thread(upgrade, database_url)
    except MigrationError as error:
        raise LocalError(str(error)) from error
    async with _connected(database_url) as connection:
        for function, password in logins.items():
            await _create_login(connection, login_of(function), password, f"merchdrop_{function}")


def login_of(function: str) -> str:
    """The database role that a function logs in as."""
    return f"{function}_login"


async def create_sample_drop(database_url: str) -> None:
    """Put the sample drop on sale, unless there is one of that name."""
    async with _connected(database_url) as connection:
        await connection.fetchval("SELECT create_drop($1::jsonb)", json.dumps(SAMPLE_DROP))


async def _create_login(connection: asyncpg.Connection[Any], login: str, password: str, group: str) -> None:
    # A role can't be a parameter of a statement; PostgreSQL itself quotes the names.
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", login):
        await connection.execute(await connection.fetchval("SELECT format('CREATE ROLE %I', $1::text)", login))
    set_login = "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
    await connection.execute(await connection.fetchval(set_login, login, password))
    grant = "SELECT format('GRANT %I TO %I', $1::text, $2::text)"
    await connection.execute(await connection.fetchval(grant, group, login))


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS)
    except asyncpg.InvalidPasswordError as error:
        raise LocalError(
            "PostgreSQL knows another password: secrets.json and postgres/ in the data directory belong together;"
            " restore both, or use another --data-dir"
        ) from error
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_SECONDS)
