"""`make gameday`: break everything on purpose, and check the books from outside."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console

from loadtest.gameday.buyers import draw_plan
from loadtest.gameday.page import render
from loadtest.gameday.play import play
from loadtest.gameday.schedule import draw_schedule
from loadtest.gameday.stage import engine
from loadtest.gameday.timeline import make_timeline
from loadtest.gameday.verdict import judge
from local.machine import LocalError, write_json
from local.recipes import ROOT

RESULTS = ROOT / "loadtest" / "results"
PRINTED_MAX = 10


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same crowd and faults.")
@click.option("--buyers", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True)
@click.option(
    "--units", type=click.IntRange(1, 1_000_000), default=600, show_default=True, help="Of all drops together."
)
@click.option("--drops", type=click.IntRange(1, 20), default=4, show_default=True, help="One after the other.")
@click.option("--seconds", type=click.FloatRange(5, 3_600), default=50, show_default=True, help="Of crowd and faults.")
@click.option("--instances", type=click.IntRange(1, 8), default=2, show_default=True, help="Of each function.")
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=RESULTS, show_default="loadtest/results"
)
def main(seed: int, buyers: int, units: int, drops: int, seconds: float, instances: int, results: Path) -> None:
    """Break the engine while a crowd buys, and check its books from outside; exit status 1 if a promise was broken.

    Leaves in the results' directory, each beginning with gameday-SEED: the verdict (.json), the run as a page (.html),
    what every buyer was told (.answers.jsonl) and what the engine said (.log).
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"gameday-{seed}"
    plan, schedule = draw_plan(seed, buyers, units, drops, seconds), draw_schedule(seed, seconds, instances)
    console, began = Console(), time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="merchdrop-gameday-") as directory,
            console.status(f"seed {seed}: starting the engine") as status,
            engine(Path(directory), path.with_suffix(".log"), instances, schedule.pubsub_faults) as stage,
        ):
            tell = _teller(console, seed, status.update)
            played = asyncio.run(play(stage, plan, schedule, path.with_suffix(".answers.jsonl"), seconds, tell))
    except LocalError as error:
        raise click.ClickException(str(error)) from None
    except psycopg.Error as error:
        raise click.ClickException(f"the database can't be read, {path}.log says more: {error}") from None
    verdict = judge(played, schedule, seed, _command(seed))
    verdict["figures"]["seconds in all"] = round(time.monotonic() - began, 1)
    write_json(path.with_suffix(".json"), verdict)
    path.with_suffix(".html").write_text(render(verdict, make_timeline(played.records, played.epoch), played.faults))
    _print(console, verdict, path)
    sys.exit(1 if verdict["wrong"] else 0)


def _teller(console: Console, seed: int, update: Any) -> Any:
    """On a terminal a line that changes; elsewhere a line now and then."""
    last = 0.0

    def tell(text: str) -> None:
        nonlocal last
        update(f"seed {seed}: {text}")
        if not console.is_terminal and time.monotonic() > last + 10:
            last = time.monotonic()
            console.print(f"seed {seed}: {text}", soft_wrap=True)

    return tell


def _command(seed: int) -> str:
    """How to run this again."""
    options = _without_seed(sys.argv[1:])
    return shlex.join(["make", "gameday", f"SEED={seed}", *([f"GAMEDAY={shlex.join(options)}"] if options else [])])


def _without_seed(arguments: list[str]) -> list[str]:
    if "--seed" in arguments:
        place = arguments.index("--seed")
        return arguments[:place] + arguments[place + 2 :]
    return arguments


def _print(console: Console, verdict: dict[str, Any], path: Path) -> None:
    for name, value in verdict["figures"].items():
        console.print(f"{name}: {value}", soft_wrap=True)
    for finding in verdict["findings"][:PRINTED_MAX]:
        console.print(
            f"{finding['kind']}, {finding['subject']}: {finding['text']}", style="red", soft_wrap=True, markup=False
        )
    if verdict["wrong"]:
        console.print(f"Broken: {'; '.join(verdict['wrong'])}.", style="red", soft_wrap=True)
        console.print(f"Repeat it: {verdict['command']}", soft_wrap=True)
    else:
        console.print("Clean: every promise was kept.", style="green")
    console.print(f"In full: {path}.html, .json, .answers.jsonl, .log", soft_wrap=True)


if __name__ == "__main__":
    main()
