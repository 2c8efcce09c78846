"""Run the SQL of `migrations/sql` inside a migration, one statement at a time."""

from __future__ import annotations

import re
from pathlib import Path

from alembic import op

_SQL = Path(__file__).parent / "sql"
# A statement ends at a semicolon outside $$ bodies, strings and comments.
_STATEMENT = re.compile(r"((?:\$\$.*?\$\$|--[^\n]*\n|'(?:[^']|'')*'|[^;$'])+)(?:;|\Z)", re.DOTALL)


def statements(sql: str) -> None:
    """Execute every statement of `sql` as it stands (no parameters, so colons and percent signs mean themselves)."""
    for match in _STATEMENT.finditer(sql):
        statement = match[1].strip()
        if re.sub(r"--[^\n]*", "", statement).strip():
            op.get_bind().exec_driver_sql(statement)


def apply(name: str) -> None:
    """Execute `migrations/sql/NAME.sql`."""
    statements((_SQL / f"{name}.sql").read_text())
