"""Where the operator's commands find the payment provider: by the environment, or with the local engine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from cli.database import database_address
from cli.secrets import SecretError, revealed
from common.payments import PaymentProvider
from common.settings import STRIPE_API_BASE
from common.stripe_payments import StripePayments
from local.data_dir import DataDir


class NoProvider(click.ClickException):
    """There is none to ask."""


@asynccontextmanager
async def payment_provider(data_dir: Path) -> AsyncIterator[PaymentProvider]:
    """The provider that charges the orders of the database in use.

    Raises:
        NoProvider: the environment names none, or a key that can't be had, and the database isn't a local engine's.
    """
    provider = StripePayments(*_access(data_dir))
    try:
        yield provider
    finally:
        await provider.close()


def _access(data_dir: Path) -> tuple[str, str]:
    """API key and base address. The local engine's stand-in knows nothing of another database's orders."""
    if key := os.environ.get("MERCHDROP_STRIPE_API_KEY"):
        try:
            key = revealed("MERCHDROP_STRIPE_API_KEY", key)
        except SecretError as error:
            raise NoProvider(f"no payment provider: {error.message}") from error
        return key, os.environ.get("MERCHDROP_STRIPE_API_BASE") or STRIPE_API_BASE
    directory = DataDir(data_dir)
    stack = directory.stack()
    if "stripe_url" in stack and stack.get("database_url") == database_address(data_dir):
        return directory.stripe_api_key, str(stack["stripe_url"])
    raise NoProvider(
        "no payment provider: MERCHDROP_STRIPE_API_KEY is not set, and the database is not that of an engine that runs"
        f" in {data_dir}"
    )
