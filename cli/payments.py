"""`merchdrop payments check`: a drop's payments beside those that the provider has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from cli.comparison import Comparison, Difference, OurPayment, Totals, compare
from cli.database import Books, with_books
from cli.output import common_options, moment, print_json, print_table
from cli.provider import payment_provider
from common.payments import InDoubt, ProviderPayment, Refused

CLOCKS_APART = timedelta(hours=1)  # the provider's from ours, at most; it only makes the list a little longer
PRINTED_MAX = 20  # differences, for people
_DROP = """
SELECT d.currency, coalesce((SELECT min(accepted_at) FROM shown_orders WHERE drop_id = d.drop_id), d.starts_at) AS since
FROM shown_drops d WHERE d.drop_id = $1
"""
_OURS = """
SELECT order_id, status, provider_ref, amount_minor, currency, captured_minor, refunded_minor, refunding_minor
FROM shown_payments WHERE drop_id = $1 ORDER BY accepted_at, order_id
"""


@click.group()
def payments() -> None:
    """Compare payments with the provider's."""


@payments.command()
@click.argument("drop_id")
@common_options
def check(drop_id: str, data_dir: Path, as_json: bool) -> None:
    """Compare a drop's payments with the provider's.

    Charges and refunds that are under way are counted apart: the provider may be a step ahead with them.

    Exit status: 1 if anything differs, or could not be compared.
    """
    head, found = with_books(data_dir, lambda books: ask_provider(books, drop_id, data_dir))
    if as_json:
        sides = {name: _sums(getattr(found, name)) for name in ("here", "there", "under_way_there")}
        print_json({**head, **asdict(found), **sides})
    else:
        click.echo(f"Minor units of {head['currency']}; what the provider has since {moment(head['since'])} UTC.\n")
        _print(found)
    if found.differences:
        raise SystemExit(1)


async def ask_provider(books: Books, drop_id: str, data_dir: Path) -> tuple[dict[str, Any], Comparison]:
    """A drop's payments in both books, and what they are about: drop, currency, since when the provider was asked.

    Raises:
        ClickException: there is no such drop, or no provider, or it does not tell.
    """
    if not (drops := await books.rows(_DROP, drop_id)):
        raise click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")
    since = datetime.fromisoformat(drops[0]["since"]) - CLOCKS_APART
    before: list[OurPayment] = await books.rows(_OURS, drop_id)
    theirs = await _theirs(data_dir, since, drop_id)
    found = compare(drops[0]["currency"], before, theirs, await books.rows(_OURS, drop_id))
    return {"drop_id": drop_id, "currency": drops[0]["currency"], "since": since.isoformat()}, found


async def _theirs(data_dir: Path, since: datetime, drop_id: str) -> list[ProviderPayment]:
    async with payment_provider(data_dir) as provider:
        try:
            return [payment async for payment in provider.payments_since(since, drop_id)]
        except (InDoubt, Refused) as error:
            raise click.ClickException(
                f"the provider does not tell its payments ({error}); nothing was compared"
            ) from error


def _sums(side: Totals) -> dict[str, int]:
    return {**asdict(side), "net_minor": side.net_minor}


def _print(found: Comparison) -> None:
    sides = (("here", found.here), ("there", found.there), ("of these under way", found.under_way_there))
    print_table(
        ("", "payments", "captured", "refunded", "net"), [(name, *_sums(side).values()) for name, side in sides]
    )
    click.echo()
    _print_differences(found.differences)
    click.echo(
        f"{_count(len(found.differences), 'difference')}, {_count(found.under_way, 'payment')} under way here,"
        f" {_count(found.idle, 'payment')} there that nobody used"
    )


def _print_differences(found: Sequence[Difference]) -> None:
    for difference in found[:PRINTED_MAX]:
        click.secho(f"{difference.kind}, order {difference.order_id}, payment {difference.provider_ref}:", fg="red")
        click.echo(f"  {difference.text}")
    if len(found) > PRINTED_MAX:
        click.echo("… and more; --json lists them")


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
