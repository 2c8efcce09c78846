"""Bring a database to a revision, from the command line, the tests and the local engine alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from common.settings import CloudSqlLogin

BASE = "base"  # Alembic's word for a database without any migration
# Any number will do, if it is always the same: it stands for "somebody is migrating this database".
ADVISORY_LOCK = 7_226_837

_HERE = Path(__file__).parent
_LOCK_NOT_AVAILABLE = "55P03"


class MigrationError(Exception):
    """The database is not at the wanted revision; the text tells a person why, and what to do."""


def revisions() -> list[str]:
    """All revisions, oldest first, beginning with BASE."""
    scripts = ScriptDirectory(str(_HERE)).walk_revisions()
    return [BASE, *reversed([script.revision for script in scripts])]


def upgrade(address: str | CloudSqlLogin, revision: str = "head") -> None:
    """Apply the migrations up to `revision`; a database that is already there is left as it is.

    Must be called outside an event loop, as `downgrade`.

    Raises:
        MigrationError: a migration did not go through. Those before it are done; it is safe to call again.
    """
    with _explained():
        command.upgrade(_config(address), revision)


def downgrade(address: str | CloudSqlLogin, revision: str) -> None:
    """Take the migrations back down to `revision`, with everything that their tables hold.

    Raises:
        MigrationError: as for `upgrade`.
    """
    with _explained():
        command.downgrade(_config(address), revision)


def _config(address: str | CloudSqlLogin) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["address"] = address
    return config


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise MigrationError(f"{error}; this release does not have it: take the release that made it") from error
    except DBAPIError as error:
        said = error.orig.__cause__ if error.orig and error.orig.__cause__ else error.orig
        if getattr(said, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise MigrationError(
                "another migration or a long transaction holds a lock that this migration needs, and buyers must not"
                " wait behind it; try again in a minute"
            ) from error
        raise MigrationError(f"the database refused: {said}") from error
    except asyncpg.PostgresError as error:  # before SQLAlchemy had the connection
        raise MigrationError(f"the database refused: {error}") from error
    except (OSError, TimeoutError) as error:
        raise MigrationError(f"the database does not answer ({str(error) or 'not in time'})") from error
