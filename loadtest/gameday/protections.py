"""`make protections`: switch off each of the engine's protections in turn, and see what the checker says."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click
import psycopg

from loadtest.gameday.checker.check import check
from loadtest.gameday.checker.records import Finding
from loadtest.gameday.controls import BLINDFOLD, CONTROLS, SECONDS, Control, apply
from loadtest.gameday.play import SETTLE_SECONDS, play
from loadtest.gameday.schedule import Schedule
from loadtest.gameday.stage import MERCHDROP, engine
from local.machine import LocalError
from local.recipes import ROOT

INSTANCES = 2
# What can still be settled is by then; a control that leaves orders or events undone would wait for ever.
UNSETTLED_SECONDS = 45.0
RESULTS = ROOT / "loadtest" / "results"
NAMES = [control.name for control in CONTROLS]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[PROTECTION]...")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed draws the same crowd.")
@click.option("--times", type=click.IntRange(1, 100), default=1, show_default=True, help="How often without each.")
def main(names: tuple[str, ...], seed: int, times: int) -> None:
    """Play a short game day with each protection, which has to be clean, and without it, which has to be reported.

    All protections, or those that are named. Exit status 1 if the checker said anything else. What the engine said is
    in loadtest/results/protection-NAME-SEED.log, and what the buyers were told in the .answers.jsonl beside it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    RESULTS.mkdir(parents=True, exist_ok=True)
    chosen = [control for control in CONTROLS if control.name in (names or NAMES)]
    try:
        kept = [_run(control, seed, is_off) for control in chosen for is_off in [False, *[True] * times]]
    except LocalError as error:
        raise click.ClickException(str(error)) from None
    except psycopg.Error as error:
        raise click.ClickException(f"the database can't be used: {error}") from None
    click.echo(f"{sum(kept)} of {len(kept)} game days were judged as they should be")
    sys.exit(not all(kept))


def _run(control: Control, seed: int, is_off: bool) -> bool:
    """One game day; whether the checker said what it should."""
    findings, is_settled = _play(control, seed, is_off)
    kinds = Counter(finding.kind for finding in findings)
    is_right = control.expects(kinds.keys()) if is_off else not kinds
    is_right &= is_settled or (is_off and not control.settles)
    said = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "clean"
    click.echo(
        f"{'without' if is_off else 'with'} {control.name}: {said}{'' if is_settled else '; it did not settle'}"
        f" ({'as it should be' if is_right else 'WRONG'})"
    )
    for kind in kinds:
        example = next(finding for finding in findings if finding.kind == kind)
        click.echo(f"    {kind}, {example.subject}: {example.text}")
    return is_right


def _play(control: Control, seed: int, is_off: bool) -> tuple[list[Finding], bool]:
    """What the checker found, and whether everything came to an end."""
    alteration = control.altered[is_off]
    program = ("loadtest.gameday.altered", "cli", alteration) if alteration else MERCHDROP
    path = RESULTS / f"protection-{control.name}-{seed}.log"
    settle_seconds = SETTLE_SECONDS if control.settles or not is_off else UNSETTLED_SECONDS
    with (
        tempfile.TemporaryDirectory(prefix="merchdrop-protection-") as directory,
        engine(Path(directory), path, INSTANCES, control.pubsub_faults, program) as stage,
    ):
        apply(stage.stack()["database_url"], [BLINDFOLD, *control.given, *(control.off if is_off else ())])
        played = asyncio.run(
            play(
                stage,
                control.plan(seed),
                Schedule(control.faults, control.pubsub_faults),
                path.with_suffix(".answers.jsonl"),
                SECONDS,
                tell=lambda _: None,
                settle_seconds=settle_seconds,
            )
        )
    return check(played.records), played.settled_seconds is not None and not played.missing


if __name__ == "__main__":
    main()
