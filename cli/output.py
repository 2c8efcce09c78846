"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

Command = TypeVar("Command", bound=Callable[..., Any])


def common_options(command: Command) -> Command:
    """`--json` and `--data-dir`, which every command takes."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        default=Path(".data"),
        show_default=True,
        help="Of the local engine; MERCHDROP_DATABASE_URL goes before it.",
    )(command)


def print_json(document: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(document, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table for people."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")  # an id that is cut off can't be used
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)
