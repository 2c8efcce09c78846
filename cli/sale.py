"""`merchdrop sale`: let a crowd loose on the engine, and judge what came of it."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.buyers import Buyer, Plan, draw_buyers
from cli.crowd import FINAL, let_loose
from cli.database import is_elsewhere, with_books
from cli.engine import engine_at
from cli.output import common_options, print_fields, print_json
from cli.sale_books import look_at, make_drop, settled_books
from cli.stand_in import faults_in_force, movements
from cli.verdict import judge
from local.data_dir import DataDir
from local.stripe_faults import Faults

CHALLENGED = 0.12
FAULTS = "timeout_after=0.02,error_500_after=0.01,rate_limit=0.02,webhook_loss=0.1,webhook_duplicate=0.1"
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?")


@click.command()
@click.option("--buyers", type=click.IntRange(1, 1_000_000), default=5_000, show_default=True, help="How many come.")
@click.option("--units", type=click.IntRange(1, 1_000_000), default=500, show_default=True, help="Of the sale's drop.")
@click.option("--skus", type=click.IntRange(1, 100), default=1, show_default=True, help="That share the units.")
@click.option("--duplicates", type=click.FloatRange(0, 1), default=0.33, show_default=True, help="Share sent twice.")
@click.option("--max-quantity", type=click.IntRange(1, 1_000), default=1, show_default=True, help="In one order.")
@click.option(
    "--price", type=click.IntRange(0, 99_999_999), default=3500, show_default=True, help="Minor units; 0: free."
)
@click.option("--hold-seconds", type=click.IntRange(1, 3_600), default=20, show_default=True, help="For paying.")
@click.option("--declined", type=click.FloatRange(0, 1), default=0.08, show_default=True, help="Share of the cards.")
@click.option(
    "--challenged",
    type=click.FloatRange(0, 1),
    help="Share of the cards that ask for 3-D Secure; of ten buyers six finish it, two fail, and two walk away. Needs"
    f" the stand-in for Stripe.  [default: {CHALLENGED}; without the stand-in 0]",
)
@click.option(
    "--stripe-faults",
    metavar="FAULTS",
    help="What goes wrong at the stand-in during a paid sale, as in `merchdrop up`, in place of what went wrong before;"
    f" '' for nothing.  [default: {FAULTS}]",
)
@click.option("--connections", type=click.IntRange(1, 5_000), default=200, show_default=True, help="At a time.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same buyers.")
@click.option("--drop", "drop_id", help="One that is open, with its own units and price.  [default: a new one]")
@click.option("--url", help="Where checkout answers.  [default: the engine's that runs in --data-dir]")
@common_options
def sale(
    as_json: bool,
    data_dir: Path,
    url: str | None,
    drop_id: str | None,
    units: int,
    skus: int,
    price: int,
    hold_seconds: int,
    challenged: float | None,
    stripe_faults: str | None,
    **plan: Any,
) -> None:
    """Sell a drop out to simulated buyers, and judge it.

    Uses the engine that runs in --data-dir, or starts one and stops it afterwards. Exit status 1 if any promise was
    broken.
    """
    if url and not _ADDRESS.fullmatch(url):
        raise click.BadParameter(f"{url!r} is not an address like http://127.0.0.1:8080", param_hint="--url")
    faults = _faults(stripe_faults, plan["seed"])
    if not url and is_elsewhere():
        raise click.UsageError("the environment names a database: unset that, or give its engine's --url")
    if is_elsewhere() and (challenged or stripe_faults):
        raise click.UsageError(
            "--challenged and --stripe-faults need the stand-in for Stripe, which the engine of the environment's"
            " database may not have: leave them out, or make them 0 and ''"
        )
    # So that what was started is stopped, and the faults end, however the sale does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = f"sale-{time.time_ns() // 1_000_000}"
    with engine_at(url, data_dir, quiet=as_json) as address:
        stripe_url = None if is_elsewhere() else DataDir(data_dir).stack().get("stripe_url")
        drop_id = drop_id or with_books(data_dir, lambda books: make_drop(books, run, units, skus, price, hold_seconds))
        offer = with_books(data_dir, lambda books: look_at(books, drop_id))
        share = challenged if challenged is not None else CHALLENGED if stripe_url else 0.0
        buyers = draw_buyers(whole := Plan(run, drop_id, **offer._asdict(), challenged=share, **plan))
        with faults_in_force(stripe_url, faults) if stripe_url and offer.is_paid else nullcontext():
            _run(address, whole, buyers, stripe_url, quiet=as_json)
            booked = with_books(data_dir, lambda books: settled_books(books, drop_id, run))
        verdict = judge(buyers, booked, movements(stripe_url) if stripe_url else None)
    _print(verdict, as_json)
    if verdict["wrong"]:
        raise SystemExit(1)


def _faults(text: str | None, seed: int) -> Faults:
    """What goes wrong at the stand-in, drawn from the sale's seed unless it has its own."""
    try:
        return Faults.parse(f"seed={seed},{FAULTS if text is None else text}")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--stripe-faults") from error


def _run(url: str, plan: Plan, buyers: list[Buyer], stripe_url: str | None, *, quiet: bool) -> None:
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

        asyncio.run(let_loose(url, plan, buyers, tell, stripe_url))
        show()


def _print(verdict: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(verdict)
        return
    print_fields({name.replace("_", " "): _words(value) for name, value in verdict.items() if name != "wrong"})
    for sentence in verdict["wrong"]:
        click.secho(f"WRONG: {sentence}", fg="red")
    if not verdict["wrong"]:
        click.secho(
            "Clean: nothing oversold, nothing lost, one order a key, and nobody charged twice or for nothing.",
            fg="green",
        )


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items()) or "none"
    return "-" if value is None else str(value)
