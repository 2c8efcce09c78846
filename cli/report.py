"""`merchdrop drop report`: what became of a drop."""

from __future__ import annotations

from pathlib import Path

import click

from cli.database import with_books
from cli.drops import no_drop
from cli.output import common_options, moment, print_fields, print_json, print_table
from common.drop_contracts import DropRef, DropReport, Money, Percentiles, Reported


@click.command()
@click.argument("drop_id")
@common_options
def report(drop_id: str, data_dir: Path, as_json: bool) -> None:
    """Report what became of a drop: units, orders, money, times, audit.

    Months later, and after customers were erased, it says the same.
    """
    wanted: DropRef = {"drop_id": drop_id}
    found: Reported = with_books(data_dir, lambda books: books.call("report_drop", wanted))
    if (told := found["report"]) is None:
        raise no_drop(drop_id)
    show_report(told, None, as_json)


def show_report(told: DropReport, theirs: Money | None, as_json: bool) -> None:
    """Print a report; `theirs` are the payment provider's own sums over the same payments, if it was asked."""
    if as_json:
        print_json({**told, "provider_money": theirs})
        return
    print_fields(_fields(told))
    click.echo()
    columns = ("sku", "stock", "sold", "reserved", "available")
    print_table(columns, [(i["sku"], i["stock"], i["sold"], i["reserved"], i["available"]) for i in told["items"]])
    click.echo()
    print_table(("orders", "reason", "count"), [(o["status"], o["reason"], o["orders"]) for o in told["orders"]])
    click.echo()
    print_table(("money", "payments", "captured", "refunded", "kept"), _money_rows(told["money"], theirs))


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


def _money_rows(ours: Money, theirs: Money | None) -> list[tuple[object, ...]]:
    sides = {"here": ours, **({"provider": theirs} if theirs else {})}
    return [
        (side, m["payments"], m["captured_minor"], m["refunded_minor"], m["captured_minor"] - m["refunded_minor"])
        for side, m in sides.items()
    ]
