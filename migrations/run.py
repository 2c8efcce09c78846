"""Bring a database to a revision, from the command line, the tests and the local engine alike."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Apply the migrations up to `revision`; a database that is already there is left as it is.

    Must be called outside an event loop. Raises what the database says: on a lock that it can't have within
    `migrations.env.LOCK_TIMEOUT_SECONDS` nothing is changed, and it is safe to call again.
    """
    command.upgrade(_config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Take the migrations back down to `revision` ("base": all of them)."""
    command.downgrade(_config(database_url), revision)
