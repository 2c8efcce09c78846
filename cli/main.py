"""The operator's command, `merchdrop`."""

from __future__ import annotations

import click

from cli.books import audit, migrate, order
from cli.drops import drop
from cli.sale import sale
from cli.up import local, up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a drop: create it, watch it, check its books. Every command takes --help."""


for command in (up, local, migrate, drop, order, audit, sale):
    main.add_command(command)
