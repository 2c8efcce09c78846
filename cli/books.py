"""`merchdrop audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.database import Books, with_books
from cli.output import common_options, moment, print_json

LISTED_MAX = 1_000  # rows of a broken book; whoever has more has one cause
PRINTED_MAX = 20  # of them, for people


@click.command()
@click.argument("drop_id", required=False)
@common_options
def audit(drop_id: str | None, data_dir: Path, as_json: bool) -> None:
    """Check the books; exit status 1 if a promise is broken.

    Looks at one drop, or at all. Violations that somebody has accepted (`merchdrop drop resume --force`) are listed as
    such, and don't count. Orders that wait for longer than they should are listed, but break no promise.
    """

    async def look(books: Books) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        where, limit = "WHERE $1::text IS NULL OR drop_id = $1", f"LIMIT {LISTED_MAX}"
        order = "ORDER BY accepted_at DESC"  # with those first that nobody has accepted
        violations = await books.rows(f"SELECT * FROM judged_violations {where} {order} {limit}", drop_id)
        if drop_id and not violations and not await books.rows("SELECT 1 FROM shown_drops WHERE drop_id = $1", drop_id):
            raise click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")
        return violations, await books.rows(f"SELECT * FROM late_orders {where} {limit}", drop_id)

    violations, late = with_books(data_dir, look)
    if as_json:
        print_json({"violations": violations, "late": late})
    else:
        _print_audit(violations, late)
    if any(row["accepted_at"] is None for row in violations):
        raise SystemExit(1)


def _print_audit(violations: list[dict[str, Any]], late: list[dict[str, Any]]) -> None:
    for row in violations[:PRINTED_MAX]:
        whose = f"drop {row['drop_id']}" + (f", order {row['order_id']}" if row["order_id"] else "")
        if row["accepted_at"]:
            who = f"{row['os_user']} (database user {row['database_user']})"
            click.echo(
                f"Promise {row['promise']} is broken, {whose}; accepted {moment(row['accepted_at'])} UTC by {who}:"
            )
        else:
            click.secho(f"Promise {row['promise']} is broken, {whose}:", fg="red")
        click.echo(f"  {row['violation']}" + (f"; {row['reason']}" if row["reason"] else ""))
    for row in late[:PRINTED_MAX]:
        click.echo(f"Late, drop {row['drop_id']}, order {row['order_id']}:")
        click.echo(f"  {row['status']} since {moment(row['waiting_since'])} UTC")
    if max(len(violations), len(late)) > PRINTED_MAX:
        click.echo("… and more; --json lists them")
    accepted = len([row for row in violations if row["accepted_at"]])
    of_them = f" ({accepted} accepted)" if accepted else ""
    click.echo(f"{_count(violations, 'violation')}{of_them}, {_count(late, 'late order')}")


def _count(rows: list[dict[str, Any]], name: str) -> str:
    at_least = " or more" if len(rows) == LISTED_MAX else ""
    return f"{len(rows)}{at_least} {name}{'' if len(rows) == 1 else 's'}"
