"""`merchdrop order show` and `merchdrop audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from cli.database import Books, with_books
from cli.output import common_options, moment, print_fields, print_json, print_table

_ORDER = (
    "SELECT order_id, drop_id, idempotency_key, status, reason, items, amount_minor, currency, accepted_at, updated_at"
    " FROM shown_orders WHERE order_id = $1"
)
LISTED_MAX = 1_000  # rows of a broken book; whoever has more has one cause
PRINTED_MAX = 20  # of them, for people


@click.group()
def order() -> None:
    """Look at orders."""


@order.command()
@click.argument("order_id", type=click.UUID)
@common_options
def show(order_id: UUID, data_dir: Path, as_json: bool) -> None:
    """Show an order."""
    if not (found := with_books(data_dir, lambda books: books.rows(_ORDER, order_id))):
        raise click.ClickException(f"there is no order {order_id} in the database; it may still be in the queue")
    if as_json:
        print_json(found[0])
    else:
        _print_order(found[0])


@click.command()
@click.argument("drop_id", required=False)
@common_options
def audit(drop_id: str | None, data_dir: Path, as_json: bool) -> None:
    """Check the books; exit status 1 if a promise is broken.

    Looks at one drop, or at all. Orders that wait for longer than they should are listed, but break no promise.
    """

    async def look(books: Books) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        where = f"WHERE $1::text IS NULL OR drop_id = $1 LIMIT {LISTED_MAX}"
        violations = await books.rows(f"SELECT * FROM audit_violations {where}", drop_id)
        if drop_id and not violations and not await books.rows("SELECT 1 FROM shown_drops WHERE drop_id = $1", drop_id):
            raise click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")
        return violations, await books.rows(f"SELECT * FROM late_orders {where}", drop_id)

    violations, late = with_books(data_dir, look)
    if as_json:
        print_json({"violations": violations, "late": late})
    else:
        _print_audit(violations, late)
    if violations:
        raise SystemExit(1)


def _print_order(order: dict[str, Any]) -> None:
    print_fields(
        {
            "order": order["order_id"],
            "drop": order["drop_id"],
            "key": order["idempotency_key"],
            "status": order["status"],
            "reason": order["reason"],
            "amount": f"{order['amount_minor']} ({order['currency']}, minor units)",
            "accepted": f"{moment(order['accepted_at'])} UTC",
            "updated": f"{moment(order['updated_at'])} UTC",
        }
    )
    click.echo()
    columns = ("sku", "quantity", "unit_price_minor")
    print_table(("sku", "quantity", "unit price"), [[item[name] for name in columns] for item in order["items"] or []])


def _print_audit(violations: list[dict[str, Any]], late: list[dict[str, Any]]) -> None:
    for row in violations[:PRINTED_MAX]:
        whose = f"drop {row['drop_id']}" + (f", order {row['order_id']}" if row["order_id"] else "")
        click.secho(f"Promise {row['promise']} is broken, {whose}:", fg="red")
        click.echo(f"  {row['violation']}")
    for row in late[:PRINTED_MAX]:
        click.echo(f"Late, drop {row['drop_id']}, order {row['order_id']}:")
        click.echo(f"  {row['status']} since {moment(row['waiting_since'])} UTC")
    if max(len(violations), len(late)) > PRINTED_MAX:
        click.echo("… and more; --json lists them")
    click.echo(f"{_count(violations, 'violation')}, {_count(late, 'late order')}")


def _count(rows: list[dict[str, Any]], name: str) -> str:
    at_least = " or more" if len(rows) == LISTED_MAX else ""
    return f"{len(rows)}{at_least} {name}{'' if len(rows) == 1 else 's'}"
