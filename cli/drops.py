"""`merchdrop drop …`: make a drop, look at it, change what may be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from cli.database import Books, with_books
from cli.drop_file import check_drop, parse_item, read_drop_file
from cli.output import common_options, moment, print_fields, print_json, print_table
from common.drop_contracts import CreatedDrop, DropState, Restock, Restocked, ShownDrop, StateChange, StateChanged

_SHOWN = "SELECT * FROM shown_drops"
_REF_LENGTH_MAX = 255

# What a drop in this state needs, when it can't have what was asked for.
_INSTEAD: dict[DropState | None, str] = {
    "draft": "is a draft; `merchdrop drop open {}` lets it go live",
    "paused": "is paused; `merchdrop drop resume {}` lets it go on",
    "ended": "has ended, and stays so; create another drop",
}


@click.group()
def drop() -> None:
    """Make, show and change drops."""


@drop.command()
@click.argument("drop_id", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="A YAML file, instead of the flags below.")
@click.option("--item", "items", multiple=True, metavar="SKU=STOCK@PRICE_MINOR[:TITLE]", help="Once for each SKU.")
@click.option("--name", help="What buyers see.  [default: the id]")
@click.option("--currency", help="ISO 4217.  [default: USD]")
@click.option("--starts-at", help="ISO 8601 with a zone, or now.  [default: now]")
@click.option("--ends-at", help="ISO 8601 with a zone.  [default: a year from the start]")
@click.option("--per-customer-limit", type=int, metavar="N", help="Units a customer may have.  [default: no limit]")
@click.option("--hold-seconds", type=int, metavar="N", help="How long a buyer has to pay.  [default: 600]")
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
    """Create a drop.

    It is live from --starts-at on, unless it is a draft. For example:

    \b
      merchdrop drop create tee-drop --item TEE-M=500@3500 \\
        --item "TEE-L=200@3500:Tee, large" --per-customer-limit 2
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if path and (items or given):
        raise click.UsageError("take --file or the flags, not both")
    fields = read_drop_file(path) if path else {**given, "items": [parse_item(item) for item in items]}
    if drop_id:
        fields["id"] = drop_id
    if draft:
        fields["state"] = "draft"
    spec = check_drop(fields)
    result: CreatedDrop = with_books(data_dir, lambda books: books.call("create_drop", spec.wanted()))
    if result["outcome"] == "exists":
        raise click.ClickException(f"there is a drop {spec.id!r} already; nothing was changed. Choose another id")
    _print_drop(result["drop"], as_json)


@drop.command("list")
@common_options
def list_drops(data_dir: Path, as_json: bool) -> None:
    """List all drops, the newest first."""
    drops = with_books(data_dir, lambda books: books.rows(f"{_SHOWN} ORDER BY starts_at DESC, drop_id"))
    if as_json:
        print_json(drops)
    elif not drops:
        click.echo("There are no drops yet; `merchdrop drop create --help` shows how to make one.")
    else:
        print_table(("drop", "state", "starts (UTC)", "ends (UTC)", "sold", "left"), map(_listed, drops))


@drop.command()
@click.argument("drop_id")
@common_options
def show(drop_id: str, data_dir: Path, as_json: bool) -> None:
    """Show a drop and its stock."""
    _print_drop(with_books(data_dir, lambda books: _find(books, drop_id)), as_json)


# Unknown options are left to the arguments, so that a negative quantity is told to be one.
@drop.command(context_settings={"ignore_unknown_options": True})
@click.argument("drop_id")
@click.argument("sku")
@click.argument("quantity", type=click.IntRange(1, 1_000_000))
@click.option("--ref", help="A word for this delivery; the same word adds its units once, however often it is sent.")
@common_options
def restock(drop_id: str, sku: str, quantity: int, ref: str | None, data_dir: Path, as_json: bool) -> None:
    """Add units of a SKU."""
    if ref is not None and not (0 < len(ref) <= _REF_LENGTH_MAX and ref.isprintable()):
        raise click.BadParameter(f"1 to {_REF_LENGTH_MAX} printable characters are expected", param_hint="--ref")
    argument: Restock = {"drop_id": drop_id, "sku": sku, "quantity": quantity, "ref": ref or str(uuid4())}
    result: Restocked = with_books(data_dir, lambda books: books.call("restock_item", argument))
    if result["outcome"] == "drop_not_found":
        raise no_drop(drop_id)
    if result["outcome"] == "unknown_sku":
        raise click.ClickException(f"drop {drop_id!r} has no SKU {sku!r}; see `merchdrop drop show {drop_id}`")
    if as_json:
        print_json(result)
    else:
        again = " (this ref was added before: nothing was changed)" if result["outcome"] == "replayed" else ""
        click.echo(f"{sku} of {drop_id}: stock is {result['stock']}{again}")


def _state_command(name: str, state: DropState, from_states: list[DropState], text: str) -> click.Command:
    @click.argument("drop_id")
    @common_options
    def command(drop_id: str, data_dir: Path, as_json: bool) -> None:
        argument: StateChange = {"drop_id": drop_id, "state": state, "from_states": from_states}
        result: StateChanged = with_books(data_dir, lambda books: books.call("set_drop_state", argument))
        print_change(drop_id, state, result, as_json)

    return click.command(name, help=text)(command)


for _command in (
    _state_command("open", "live", ["draft"], "Let a draft go live."),
    _state_command("pause", "paused", ["live"], "Take no new orders, and decide none, until it is resumed."),
    _state_command("close", "ended", ["draft", "live", "paused"], "End a drop for good; its open orders are decided."),
):
    drop.add_command(_command)


def print_change(drop_id: str, state: DropState, result: StateChanged, as_json: bool) -> None:
    """Say that a drop became `state`.

    Raises:
        ClickException: it did not, and why.
    """
    if result["outcome"] == "drop_not_found":
        raise no_drop(drop_id)
    if result["outcome"] == "not_allowed":
        instead = _INSTEAD[result["state"]].format(drop_id)
        raise click.ClickException(f"drop {drop_id!r} can't become {state}: it {instead}")
    if as_json:
        print_json({"drop_id": drop_id, "state": state, "was": result["state"]})
    else:
        before = "already" if result["outcome"] == "unchanged" else f"(was {result['state']})"
        click.echo(f"{drop_id} is {state} {before}")


async def _find(books: Books, drop_id: str) -> ShownDrop:
    found: list[ShownDrop] = await books.rows(f"{_SHOWN} WHERE drop_id = $1", drop_id)
    if not found:
        raise no_drop(drop_id)
    return found[0]


def no_drop(drop_id: str) -> click.ClickException:
    """The error of a command for a drop that isn't there."""
    return click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")


def _listed(shown: ShownDrop) -> tuple[object, ...]:
    starts_at, ends_at = moment(shown["starts_at"], "minutes"), moment(shown["ends_at"], "minutes")
    sold, left = sum(item["sold"] for item in shown["items"]), sum(item["available"] for item in shown["items"])
    return shown["drop_id"], shown["state"], starts_at, ends_at, sold, left


def _print_drop(shown: ShownDrop, as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    limit = shown["per_customer_limit"]
    print_fields(
        {
            "drop": shown["drop_id"],
            "name": shown["name"],
            "state": shown["state"],
            "starts": f"{moment(shown['starts_at'])} UTC",
            "ends": f"{moment(shown['ends_at'])} UTC",
            "limit": f"{limit} a customer" if limit else "none",
            "hold": f"{shown['hold_seconds']} s to pay",
            "prices": f"{shown['currency']}, minor units",
        }
    )
    click.echo()
    print_table(
        ("sku", "title", "price", "stock", "reserved", "sold", "left"),
        [
            (i["sku"], i["title"], i["unit_price_minor"], i["stock"], i["reserved"], i["sold"], i["available"])
            for i in shown["items"]
        ],
    )
