"""`merchdrop sale`: let a crowd loose on the engine, and judge what came of it."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.crowd import FINAL, Buyer, Plan, draw_buyers, let_loose
from cli.database import Books, with_books
from cli.output import common_options, print_fields, print_json
from cli.verdict import Booked, judge
from common.contracts import NewDrop, NewItem
from local.data_dir import DataDir
from local.machine import free_port

START_SECONDS = 120  # of an engine that has to be made first
STOP_SECONDS = 30
LOOK_SECONDS = 10
SETTLE_SECONDS = 300  # orders whose messages were lost wait for reconcile, which runs once a minute

_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?")
_ORDERS = (
    "SELECT order_id, idempotency_key, status, items, extract(epoch FROM accepted_at)::float8 AS accepted_epoch,"
    " extract(epoch FROM updated_at)::float8 AS decided_epoch,"
    " extract(epoch FROM updated_at - accepted_at)::float8 AS decision_seconds"
    " FROM shown_orders WHERE drop_id = $1 AND starts_with(idempotency_key, $2)"
)
_DROP = "SELECT state, starts_at <= now() AND now() < ends_at AS open, items FROM shown_drops WHERE drop_id = $1"


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
    with _engine(url, data_dir, quiet=as_json) as address:
        drop_id = drop_id or with_books(data_dir, lambda books: _make_drop(books, run, units, skus))
        sold_skus = with_books(data_dir, lambda books: _skus_for_nothing(books, drop_id))
        buyers = _run(address, Plan(run, drop_id, sold_skus, **plan), quiet=as_json)
        verdict = judge(buyers, with_books(data_dir, lambda books: _settled_books(books, drop_id, run)))
    _print(verdict, as_json)
    if verdict["wrong"]:
        raise SystemExit(1)


async def _make_drop(books: Books, drop_id: str, units: int, skus: int) -> str:
    stock = {f"SKU-{n + 1}": units // skus + (n < units % skus) for n in range(skus)}
    items: list[NewItem] = [{"sku": sku, "stock": stock[sku], "unit_price_minor": 0} for sku in stock]
    wanted: NewDrop = {"id": drop_id, "currency": "USD", "items": items}
    await books.call("create_drop", wanted)
    return drop_id


async def _skus_for_nothing(books: Books, drop_id: str) -> tuple[str, ...]:
    """What the drop sells. The crowd has no money, and no business where nothing can be had."""
    if not (found := await books.rows(_DROP, drop_id)):
        raise click.ClickException(f"there is no drop {drop_id!r}; see `merchdrop drop list`")
    if found[0]["state"] != "live" or not found[0]["open"]:
        raise click.ClickException(f"drop {drop_id!r} is not open; see `merchdrop drop show {drop_id}`")
    if any(item["unit_price_minor"] for item in found[0]["items"]):
        raise click.ClickException(f"drop {drop_id!r} is not free, and simulated buyers can't pay; choose another")
    return tuple(item["sku"] for item in found[0]["items"])


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


async def _settled_books(books: Books, drop_id: str, run: str) -> Booked:
    """The books, once no order of the crowd waits any more or SETTLE_SECONDS are over."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while await _waiting(books, drop_id, run) and time.monotonic() < deadline:  # noqa: ASYNC110 (nothing could signal)
        await asyncio.sleep(1)
    items = (await books.rows(_DROP, drop_id))[0]["items"]
    violations = await books.rows("SELECT 1 FROM audit_violations WHERE drop_id = $1", drop_id)
    return Booked(
        units=sum(item["stock"] for item in items),
        sold=sum(item["sold"] for item in items),
        available={item["sku"]: item["available"] for item in items},
        orders=await books.rows(_ORDERS, drop_id, f"{run}-"),
        violations=len(violations),
    )


async def _waiting(books: Books, drop_id: str, run: str) -> bool:
    query = (
        "SELECT 1 FROM shown_orders WHERE drop_id = $1 AND starts_with(idempotency_key, $2)"
        " AND status IN ('accepted', 'reserved', 'action_required') LIMIT 1"
    )
    return bool(await books.rows(query, drop_id, f"{run}-"))


@contextmanager
def _engine(url: str | None, data_dir: Path, *, quiet: bool) -> Iterator[str]:
    """Checkout's address; an engine that had to be started is stopped afterwards."""
    directory = DataDir(data_dir)
    if url:
        _look_for_checkout(url)
        yield url
        return
    if directory.is_locked():
        yield _checkout_url(directory, {}, directory.is_locked)
        return
    if not quiet:
        click.echo(f"No engine runs in {data_dir}; starting one.")
    left = directory.stack()  # by an engine that was killed: says nothing about the new one
    command = [sys.executable, "-m", "cli", "up", "--data-dir", str(data_dir), "--port", str(free_port())]
    process = subprocess.Popen([*command, "--no-sample-drop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _checkout_url(directory, left, lambda: process.poll() is None)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # the next engine on this directory clears away what it leaves


def _look_for_checkout(url: str) -> None:
    """Fail at once where nobody answers; the crowd would go on trying for minutes."""
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/v1/health", timeout=LOOK_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        raise click.ClickException(f"{url} is no checkout: it answers {answer.code} to /v1/health") from answer
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(f"nobody answers at {url} ({error}); give the address of checkout") from error


def _checkout_url(directory: DataDir, left: dict[str, Any], is_running: Callable[[], bool]) -> str:
    """Where checkout answers, once it has started."""
    deadline = time.monotonic() + START_SECONDS
    while (stack := directory.stack()) == left or not any(_is_checkout(name) for name in stack.get("pids", {})):
        if not is_running() or time.monotonic() > deadline:
            raise click.ClickException(
                f"no engine came up; `merchdrop up --data-dir {directory.path}` tells why, or name another --data-dir"
            )
        time.sleep(0.2)
    return str(stack["checkout_url"])


def _is_checkout(name: str) -> bool:
    return name == "checkout" or name.startswith("checkout-")  # one of several instances


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
