"""`make bench`: measure every figure, or some, and write down what was found."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console

from loadtest.figures import batches, checkout, controls, cost, footprint, hot_sku, refusals, scaling
from loadtest.lab import Lab, make_lab
from loadtest.report import Findings, print_report, to_markdown
from loadtest.rounds import Plan
from loadtest.serving import BenchError
from local.machine import LocalError, write_json
from local.postgres import OWNER
from local.recipes import ROOT

RESULTS = ROOT / "loadtest" / "results" / "bench.json"
WIDTH = 140  # of the table where no terminal says otherwise
FIGURES: dict[str, Callable[[Lab, Plan], Findings]] = {
    "checkout": checkout.measure,
    "hot-sku": hot_sku.measure,
    "batches": batches.measure,
    "refusals": refusals.measure,
    "footprint": footprint.measure,
    "cost": cost.measure,
    "scaling": scaling.measure,
    "controls": controls.measure,
}


@click.command()
@click.option(
    "--figure", "names", multiple=True, type=click.Choice(list(FIGURES)), help="Only this one; may be repeated."
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.2), default=1.5, show_default=True, help="Of each side in each round."
)
@click.option("--soak-minutes", type=click.FloatRange(0.1), default=0.5, show_default=True, help="Of steady load.")
def main(names: tuple[str, ...], rounds: int, seconds: float, soak_minutes: float) -> None:
    """Measure the engine beside its baselines on this machine: loadtest/results/bench.json and a table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    found = Findings()
    try:
        with make_lab() as lab:
            machine = _machine(lab)
            for name in names or FIGURES:
                with console.status(name) as status:
                    _measure(lab, Plan(rounds, seconds, soak_minutes, status.update), name, found)
    except LocalError as error:
        raise click.ClickException(str(error)) from None
    command = shlex.join(["make", "bench", *([f"BENCH={shlex.join(sys.argv[1:])}"] if sys.argv[1:] else [])])
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(
        RESULTS,
        {
            "command": command,
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine,
            "plan": {"rounds": rounds, "seconds": seconds, "soak_minutes": soak_minutes},
            "rows": [row.document() for row in found.rows],
            "notes": found.notes,
            "failed": found.failed,
        },
    )
    on = ", ".join(f"{name} {value}" for name, value in machine.items())
    title = f"The median of {rounds} rounds, measured by `{command}` on: {on}"
    RESULTS.with_suffix(".md").write_text(to_markdown(found, title))
    print_report(console, found, title)
    console.print(f"In full: {RESULTS.relative_to(ROOT)}, and as Markdown beside it")
    sys.exit(1 if found.failed else 0)


def _measure(lab: Lab, plan: Plan, name: str, found: Findings) -> None:
    """Add what one figure's measuring found; that it failed doesn't take the others away."""
    try:
        findings = FIGURES[name](lab, plan)
    except BenchError as error:
        found.failed.append(f"{name} failed: {error}")
        return
    found.rows += findings.rows
    found.notes += findings.notes


def _machine(lab: Lab) -> dict[str, Any]:
    with lab.connect(OWNER) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row
    return {
        "cores": os.cpu_count(),
        "Python": platform.python_version(),
        "PostgreSQL": row[0],
        "system": platform.platform(),
    }


if __name__ == "__main__":
    main()
