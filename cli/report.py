"""`merchdrop drop report`: what became of a drop."""

from __future__ import annotations

from pathlib import Path

import click

from cli.database import Books, with_books
from cli.drops import no_drop
from cli.output import common_options, moment, print_fields, print_json, print_table
from cli.payments import ask_provider
from common.drop_contracts import DropRef, DropReport, Money, Percentiles, Reported


@click.command()
@click.argument("drop_id")
@common_options
def report(drop_id: str, data_dir: Path, as_json: bool) -> None:
    """Report what became of a drop: units, orders, money, times, audit.

    Beside the money stand the payment provider's own figures, if it can be asked. Months later, and after customers
    were erased, the report is the same.
    """

    async def ask(books: Books) -> tuple[DropReport | None, Money | str]:
        wanted: DropRef = {"drop_id": drop_id}
        found: Reported = await books.call("report_drop", wanted)
        told = found["report"]
        return told, await _their_money(books, drop_id, data_dir) if told and told["money"][
            "payments"
        ] else "there were no payments"

    told, theirs = with_books(data_dir, ask)
    if told is None:
        raise no_drop(drop_id)
    if as_json:
        print_json({**told, "provider_money": None if isinstance(theirs, str) else theirs})
    else:
        _print(told, theirs)


async def _their_money(books: Books, drop_id: str, data_dir: Path) -> Money | str:
    """The provider's own figures for the drop's payments, or why there are none."""
    try:
        there = (await ask_provider(books, drop_id, data_dir))[1].there
    except click.ClickException as error:
        return error.message
    return {
        "payments": there.payments,
        "captured_minor": there.captured_minor,
        "refunded_minor": there.refunded_minor,
    }


def _print(told: DropReport, theirs: Money | str) -> None:
    print_fields(_fields(told))
    click.echo()
    columns = ("sku", "stock", "sold", "reserved", "available")
    print_table(columns, [(i["sku"], i["stock"], i["sold"], i["reserved"], i["available"]) for i in told["items"]])
    click.echo()
    print_table(("orders", "reason", "count"), [(o["status"], o["reason"], o["orders"]) for o in told["orders"]])
    click.echo()
    sides = {"here": told["money"]} if isinstance(theirs, str) else {"here": told["money"], "there": theirs}
    print_table(
        ("", "payments", "captured", "refunded", "net"), [(side, *_sums(money)) for side, money in sides.items()]
    )
    if isinstance(theirs, str):
        click.echo(click.wrap_text(f"The provider's own figures are not known: {theirs}"))
    else:
        click.echo(f"There: with the provider. `merchdrop payments check {told['drop_id']}` names what differs.")


def _fields(told: DropReport) -> dict[str, object]:
    audit, took = told["audit"], told["sell_out_seconds"]
    return {
        "drop": told["drop_id"],
        "name": told["name"],
        "state": told["state"],
        "starts": f"{moment(told['starts_at'])} UTC",
        "ends": f"{moment(told['ends_at'])} UTC",
        "sold out": _sold_out(told["sold_out_at"], took),
        "decision": _times(told["decision_seconds"]),
        "payment": _times(told["payment_seconds"]),
        "audit": f"{audit['violations']} violations, {audit['accepted']} accepted ones",
        "sealed": f"{moment(audit['sealed_at'])} UTC" if audit["sealed_at"] else "not yet",
        "amounts": f"{told['currency']}, minor units",
    }


def _sold_out(at: str | None, seconds: float | None) -> str:
    if at is None:
        return "never"
    return f"{moment(at)} UTC" + (f", {seconds:.1f} s after the first order" if seconds is not None else "")


def _times(times: Percentiles | None) -> str:
    if times is None:
        return "none"
    return f"half within {times['p50']:.2f} s, 90 % within {times['p90']:.2f} s, 99 % within {times['p99']:.2f} s"


def _sums(money: Money) -> tuple[int, int, int, int]:
    captured, refunded = money["captured_minor"], money["refunded_minor"]
    return money["payments"], captured, refunded, captured - refunded
