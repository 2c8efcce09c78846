"""`merchdrop drop …`: make a drop, look at it, change what may be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from cli.database import Books, with_books
from cli.drop_file import check_drop, parse_item, read_drop_file
from cli.output import common_options, print_json, print_table

_COLUMNS = "drop_id, name, state, currency, starts_at, ends_at, per_customer_limit, hold_seconds, items"
_SHOWN = f"SELECT {_COLUMNS} FROM shown_drops"


@click.group()
def drop() -> None:
    """Make, show and change drops."""


@drop.command()
@click.argument("drop_id", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="A YAML file, instead of the flags below.")
@click.option("--item", "items", multiple=True, metavar="SKU=STOCK@PRICE_MINOR[:TITLE]", help="Once for each SKU.")
@click.option("--name")
@click.option("--currency", help="ISO 4217.  [default: USD]")
@click.option("--starts-at", help="ISO 8601 with a zone, or now.  [default: now]")
@click.option("--ends-at", help="ISO 8601 with a zone.  [default: a year from the start]")
@click.option("--per-customer-limit", type=int, help="Units a customer may have.  [default: no limit]")
@click.option("--hold-seconds", type=int, help="How long a buyer has to pay.  [default: 600]")
@click.option("--draft", is_flag=True, help="Don't let it go live yet.")
@common_options
def create(
    drop_id: str | None,
    path: Path | None,
    items: tuple[str, ...],
    draft: bool,
    data_dir: Path,
    as_json: bool,
    **flags: Any,
) -> None:
    """Create a drop; it is live at once unless it starts later or is a draft."""
    given = {name: value for name, value in flags.items() if value is not None}
    if path and (items or given):
        raise click.UsageError("take --file or the flags, not both")
    fields = read_drop_file(path) if path else {**given, "items": [parse_item(item) for item in items]}
    if drop_id:
        fields["id"] = drop_id
    if draft:
        fields["state"] = "draft"
    spec = check_drop(fields)
    result = with_books(data_dir, lambda books: books.call("create_drop", spec.model_dump(mode="json")))
    if result["outcome"] == "exists":
        raise click.ClickException(f"there is a drop {spec.id!r} already; nothing was changed. Choose another id")
    _print_drop({key: value for key, value in result["drop"].items() if key != "order_id_key_version"}, as_json)


@drop.command("list")
@common_options
def list_drops(data_dir: Path, as_json: bool) -> None:
    """List all drops, the newest first."""
    drops = with_books(data_dir, lambda books: books.rows(f"{_SHOWN} ORDER BY starts_at DESC, drop_id"))
    if as_json:
        print_json(drops)
        return
    rows = [
        (
            d["drop_id"],
            d["state"],
            d["starts_at"],
            d["ends_at"],
            *(_total(d, name) for name in ("stock", "sold", "available")),
        )
        for d in drops
    ]
    print_table(("drop", "state", "starts", "ends", "stock", "sold", "available"), rows)


@drop.command()
@click.argument("drop_id")
@common_options
def show(drop_id: str, data_dir: Path, as_json: bool) -> None:
    """Show a drop and its stock."""
    _print_drop(with_books(data_dir, lambda books: _find(books, drop_id)), as_json)


@drop.command()
@click.argument("drop_id")
@click.argument("sku")
@click.argument("quantity", type=click.IntRange(1, 1_000_000))
@click.option("--ref", help="A word for this delivery; the same word adds its units once, however often it is sent.")
@common_options
def restock(drop_id: str, sku: str, quantity: int, ref: str | None, data_dir: Path, as_json: bool) -> None:
    """Add units of a SKU."""
    argument = {"drop_id": drop_id, "sku": sku, "quantity": quantity, "ref": ref or str(uuid4())}
    result = with_books(data_dir, lambda books: books.call("restock_item", argument))
    if result["outcome"] == "drop_not_found":
        raise _no_drop(drop_id)
    if result["outcome"] == "unknown_sku":
        raise click.ClickException(f"drop {drop_id!r} has no SKU {sku!r}; see `merchdrop drop show {drop_id}`")
    if as_json:
        print_json(result)
    else:
        again = " (this ref had been added before: nothing changed)" if result["outcome"] == "replayed" else ""
        click.echo(f"{sku} of {drop_id}: stock is {result['stock']}{again}")


def _set_state(drop_id: str, state: str, data_dir: Path, as_json: bool) -> None:
    argument = {"drop_id": drop_id, "state": state}
    result = with_books(data_dir, lambda books: books.call("set_drop_state", argument))
    if result["outcome"] == "drop_not_found":
        raise _no_drop(drop_id)
    if result["outcome"] == "not_allowed":
        raise click.ClickException(f"drop {drop_id!r} is {result['state']} and can't become {state}")
    if as_json:
        print_json({"drop_id": drop_id, "state": state, "was": result["state"]})
    else:
        click.echo(f"{drop_id} is {state} (was {result['state']})")


def _state_command(name: str, state: str, text: str) -> click.Command:
    @click.argument("drop_id")
    @common_options
    def command(drop_id: str, data_dir: Path, as_json: bool) -> None:
        _set_state(drop_id, state, data_dir, as_json)

    return click.command(name, help=text)(command)


for _name, _state, _text in (
    ("open", "live", "Let a draft go live."),
    ("pause", "paused", "Take no new orders, and decide none, until it is resumed."),
    ("resume", "live", "Go on with a paused drop."),
    ("close", "ended", "End a drop for good; orders that were accepted are still decided."),
):
    drop.add_command(_state_command(_name, _state, _text))


async def _find(books: Books, drop_id: str) -> dict[str, Any]:
    if not (found := await books.rows(f"{_SHOWN} WHERE drop_id = $1", drop_id)):
        raise _no_drop(drop_id)
    return found[0]


def _no_drop(drop_id: str) -> click.ClickException:
    return click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")


def _total(shown: dict[str, Any], name: str) -> int:
    return sum(item[name] for item in shown["items"])


def _print_drop(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    click.echo(f"{shown['drop_id']} ({shown['name']}): {shown['state']}, {shown['starts_at']} to {shown['ends_at']}")
    limit = shown["per_customer_limit"] or "no"
    click.echo(
        f"prices in {shown['currency']} minor units, {limit} limit per customer, holds {shown['hold_seconds']} s"
    )
    columns = ("sku", "title", "unit_price_minor", "stock", "reserved", "sold", "available")
    print_table(columns, [[item[name] for name in columns] for item in shown["items"]])
