"""`merchdrop sale`: let a crowd loose on the engine, and judge what came of it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.crowd import FINAL, Buyer, Plan, draw_buyers, let_loose
from cli.database import with_books
from cli.engine import engine_at
from cli.output import common_options, print_fields, print_json
from cli.sale_books import make_drop, settled_books, skus_for_nothing
from cli.verdict import judge

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?")


@click.command()
@click.option("--buyers", type=click.IntRange(1, 1_000_000), default=5_000, show_default=True, help="How many come.")
@click.option("--units", type=click.IntRange(1, 1_000_000), default=500, show_default=True, help="Of the sale's drop.")
@click.option("--skus", type=click.IntRange(1, 100), default=1, show_default=True, help="That share the units.")
@click.option("--duplicates", type=click.FloatRange(0, 1), default=0.33, show_default=True, help="Share sent twice.")
@click.option("--max-quantity", type=click.IntRange(1, 1_000), default=1, show_default=True, help="In one order.")
@click.option("--connections", type=click.IntRange(1, 5_000), default=200, show_default=True, help="At a time.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same buyers.")
@click.option("--drop", "drop_id", help="A free drop that is open, with its own units.  [default: a new one]")
@click.option("--url", help="Where checkout answers.  [default: the engine's that runs in --data-dir]")
@common_options
def sale(
    as_json: bool, data_dir: Path, url: str | None, drop_id: str | None, units: int, skus: int, **plan: Any
) -> None:
    """Sell a drop out to simulated buyers, and judge it.

    Uses the engine that runs in --data-dir, or starts one and stops it afterwards. Exit status 1 if any promise was
    broken.
    """
    if url and not _ADDRESS.fullmatch(url):
        raise click.BadParameter(f"{url!r} is not an address like http://127.0.0.1:8080", param_hint="--url")
    if not url and "MERCHDROP_DATABASE_URL" in os.environ:
        raise click.UsageError("MERCHDROP_DATABASE_URL names a database: unset it, or give its engine's --url")
    run = f"sale-{time.time_ns() // 1_000_000}"
    with engine_at(url, data_dir, quiet=as_json) as address:
        drop_id = drop_id or with_books(data_dir, lambda books: make_drop(books, run, units, skus))
        sold_skus = with_books(data_dir, lambda books: skus_for_nothing(books, drop_id))
        buyers = _run(address, Plan(run, drop_id, sold_skus, **plan), quiet=as_json)
        verdict = judge(buyers, with_books(data_dir, lambda books: settled_books(books, drop_id, run)))
    _print(verdict, as_json)
    if verdict["wrong"]:
        raise SystemExit(1)


def _run(url: str, plan: Plan, *, quiet: bool) -> list[Buyer]:
    buyers = draw_buyers(plan)
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=quiet) as progress:
        answered = progress.add_task("answered", total=len(buyers))
        decided = progress.add_task("decided", total=len(buyers))
        counts = {"told": 0}

        def tell() -> None:
            counts["told"] += 1
            if counts["told"] % 100 == 0:
                show()

        def show() -> None:
            progress.update(answered, completed=sum(bool(b.order_ids or b.refusals) for b in buyers))
            progress.update(
                decided, completed=sum(b.status in FINAL or (not b.order_ids and bool(b.refusals)) for b in buyers)
            )

        asyncio.run(let_loose(url, plan, buyers, tell))
        show()
    return buyers


def _print(verdict: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(verdict)
        return
    print_fields({name.replace("_", " "): _words(value) for name, value in verdict.items() if name != "wrong"})
    for sentence in verdict["wrong"]:
        click.secho(f"WRONG: {sentence}", fg="red")
    if not verdict["wrong"]:
        click.secho("Clean: nothing oversold, nothing lost, one order a key.", fg="green")


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items()) or "none"
    return "-" if value is None else str(value)
