"""`merchdrop order show`, `merchdrop audit` and `merchdrop migrate`."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from cli.database import Books, database_url, with_books
from cli.output import common_options, print_json, print_table
from migrations.run import upgrade

_ORDER = (
    "SELECT order_id, drop_id, idempotency_key, status, reason, items, amount_minor, currency, accepted_at, updated_at"
    " FROM shown_orders WHERE order_id = $1"
)
LISTED_MAX = 1_000  # rows of a broken book; whoever has more has one cause


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
        return
    print_table(("field", "value"), [(name, value) for name, value in found[0].items() if name != "items"])
    columns = ("sku", "quantity", "unit_price_minor")
    print_table(columns, [[item[name] for name in columns] for item in found[0]["items"]])


@click.command()
@click.argument("drop_id", required=False)
@common_options
def audit(drop_id: str | None, data_dir: Path, as_json: bool) -> None:
    """Check the books, of one drop or of all; exit status 1 if a promise is broken."""

    async def look(books: Books) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        where = f"WHERE $1::text IS NULL OR drop_id = $1 LIMIT {LISTED_MAX}"
        return (
            await books.rows(f"SELECT * FROM audit_violations {where}", drop_id),
            await books.rows(f"SELECT * FROM late_orders {where}", drop_id),
        )

    violations, late = with_books(data_dir, look)
    if as_json:
        print_json({"violations": violations, "late": late})
    else:
        if violations:
            columns = ("promise", "drop_id", "order_id", "violation")
            print_table(columns, [[row[name] for name in columns] for row in violations])
        click.echo(f"{len(violations)} violations, {len(late)} late orders")
    if violations:
        raise SystemExit(1)


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="The revision to stop at.")
@common_options
def migrate(revision: str, data_dir: Path, as_json: bool) -> None:
    """Bring the database up to date."""
    upgrade(database_url(data_dir), revision)
    if as_json:
        print_json({"revision": revision})
    else:
        click.echo(f"the database is at {revision}")
