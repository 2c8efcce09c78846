"""`merchdrop sale`: let a crowd loose on the engine, and judge what came of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.crowd import FINAL, Buyer, Plan, draw_buyers, let_loose
from cli.database import Books, read_stack, with_books
from cli.output import common_options, print_json, print_table
from cli.verdict import Booked, judge

START_SECONDS = 120  # of an engine that has to be made first
STOP_SECONDS = 30
SETTLE_SECONDS = 300  # orders whose messages were lost wait for reconcile, which runs once a minute

_ORDERS = (
    "SELECT idempotency_key, status, items, extract(epoch FROM accepted_at)::float8 AS accepted_epoch,"
    " extract(epoch FROM updated_at)::float8 AS decided_epoch,"
    " extract(epoch FROM updated_at - accepted_at)::float8 AS decision_seconds FROM shown_orders WHERE drop_id = $1"
)


@click.command()
@click.option("--buyers", type=click.IntRange(1, 1_000_000), default=5_000, show_default=True)
@click.option("--units", type=click.IntRange(1, 1_000_000), default=500, show_default=True, help="Of the sale's drop.")
@click.option("--skus", type=click.IntRange(1, 100), default=1, show_default=True, help="That share the units.")
@click.option("--duplicates", type=click.FloatRange(0, 1), default=0.33, show_default=True, help="Share sent twice.")
@click.option("--max-quantity", type=click.IntRange(1, 1_000), default=1, show_default=True, help="In one order.")
@click.option("--connections", type=click.IntRange(1, 5_000), default=200, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same buyers.")
@common_options
def sale(as_json: bool, data_dir: Path, units: int, skus: int, seed: int, **plan: Any) -> None:
    """Sell a drop out to simulated buyers; exit status 1 if any promise was broken.

    Uses the engine that runs in --data-dir, or starts one and stops it afterwards.
    """
    with _engine(data_dir, quiet=as_json) as url:
        drop_id = f"sale-{int(time.time() * 1000)}"
        names = tuple(f"SKU-{n + 1}" for n in range(skus))
        stock = {name: units // skus + (n < units % skus) for n, name in enumerate(names)}
        items = [{"sku": name, "stock": stock[name], "unit_price_minor": 0} for name in names]
        with_books(data_dir, lambda b: b.call("create_drop", {"id": drop_id, "currency": "USD", "items": items}))
        buyers = _run(url, Plan(drop_id, names, seed=seed, **plan), quiet=as_json)
        verdict = judge(buyers, with_books(data_dir, lambda books: _settled_books(books, drop_id)))
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


async def _settled_books(books: Books, drop_id: str) -> Booked:
    """The books, once no order waits any more or SETTLE_SECONDS are over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while await _waiting(books, drop_id) and time.monotonic() < deadline:  # noqa: ASYNC110 (nothing could signal)
        await asyncio.sleep(1)
    items = (await books.rows("SELECT items FROM shown_drops WHERE drop_id = $1", drop_id))[0]["items"]
    violations = await books.rows("SELECT 1 FROM audit_violations WHERE drop_id = $1", drop_id)
    return Booked(
        units=sum(item["stock"] for item in items),
        sold=sum(item["sold"] for item in items),
        available={item["sku"]: item["available"] for item in items},
        orders=await books.rows(_ORDERS, drop_id),
        violations=len(violations),
    )


async def _waiting(books: Books, drop_id: str) -> bool:
    unfinished = "('accepted', 'reserved', 'action_required')"
    query = f"SELECT 1 FROM shown_orders WHERE drop_id = $1 AND status IN {unfinished} LIMIT 1"
    return bool(await books.rows(query, drop_id))


@contextmanager
def _engine(data_dir: Path, *, quiet: bool) -> Iterator[str]:
    if stack := read_stack(data_dir):
        yield str(stack["checkout_url"])
        return
    if not quiet:
        click.echo(f"No engine runs in {data_dir}; starting one.")
    command = [sys.executable, "-m", "cli", "up", "--data-dir", str(data_dir), "--no-sample-drop"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (stack := read_stack(data_dir)) or "checkout" not in stack.get("pids", {}):
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"the engine did not start; `merchdrop up --data-dir {data_dir}` tells why")
            time.sleep(0.2)
        yield str(stack["checkout_url"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def _print(verdict: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(verdict)
        return
    rows = [(name.replace("_", " "), value) for name, value in verdict.items() if name != "wrong"]
    print_table(("", "the sale"), rows)
    for sentence in verdict["wrong"]:
        click.secho(f"WRONG: {sentence}", fg="red")
    if not verdict["wrong"]:
        click.secho("Clean: nothing oversold, nothing lost, one order a key.", fg="green")
