"""What all commands share: their options, tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

Command = TypeVar("Command", bound=Callable[..., Any])
UNDER_WAY = 3  # an exit status: it is written down, and reconcile ends it
NAME_WIDTH_MAX = 40  # a longer id is folded: the other columns need room on a narrow terminal

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def data_dir_option(text: str) -> Callable[[Command], Command]:
    """`--data-dir`, with what it means to the command."""
    path = click.Path(file_okay=False, path_type=Path)
    return click.option("--data-dir", type=path, default=Path(".data"), show_default=True, help=text)


def common_options(command: Command) -> Command:
    """`--json` and `--data-dir`, for a command that works on the database."""
    return data_dir_option("Of the local engine; a database that the environment names goes before it.")(
        json_option(command)
    )


def print_json(document: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(document, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people. The first column, which is what one copies, and numbers keep their width; the rest wraps."""
    cells = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(columns):
        values = [row[number] for row in cells]
        is_count = bool(values) and all(isinstance(value, int) for value in values)
        longest = max((len(_words(value)) for value in (name, *values)), default=0)
        width = min(longest, NAME_WIDTH_MAX) if is_count or number == 0 else None
        table.add_column(name, width=width, justify="right" if is_count else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(_words(value)) for value in row))
    Console().print(table)


def print_fields(fields: dict[str, object]) -> None:
    """Names and values below each other; what has no value is left out."""
    width = max(map(len, fields))
    for name, value in fields.items():
        if value is not None:
            click.echo(f"{name:<{width}}  {value}")


def moment(iso: str, timespec: str = "seconds") -> str:
    """A time in ISO 8601 for people, in UTC."""
    return datetime.fromisoformat(iso).astimezone(UTC).replace(tzinfo=None).isoformat(" ", timespec)


def _words(value: object) -> str:
    return "" if value is None else str(value)
