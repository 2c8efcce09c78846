"""`make loadtest`: k6 drives a flash sale against the local engine, and the books have the last word.

The drop is free: what is measured is how fast buyers get their answers, and charging goes at the provider's pace,
whatever the engine could do. Paid sales are `merchdrop sale`'s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from cli.crowd import FINAL
from cli.database import with_books
from cli.engine import engine_at
from cli.output import common_options, print_fields, print_json
from cli.sale_books import make_drop, settled_books
from cli.verdict import Booked

SCRIPT = Path(__file__).with_name("flash_sale.js")
RESULTS = Path(__file__).with_name("results") / "flash_sale.json"
AFTERWARDS_SECONDS = 240  # for the last buyers to be answered, above k6's own grace
THRESHOLDS_CROSSED = 99  # k6's exit status


@click.command()
@click.option("--rate", type=click.IntRange(1, 10_000), default=150, show_default=True, help="Buyers a second.")
@click.option("--seconds", type=click.IntRange(1, 3_600), default=20, show_default=True, help="Of the rush.")
@click.option("--late-seconds", type=click.IntRange(1, 3_600), default=10, show_default=True, help="Of the late crowd.")
@click.option("--units", type=click.IntRange(1, 1_000_000), default=500, show_default=True)
@click.option("--skus", type=click.IntRange(1, 100), default=1, show_default=True, help="That share the units.")
@common_options
def main(rate: int, seconds: int, late_seconds: int, units: int, skus: int, data_dir: Path, as_json: bool) -> None:
    """Let k6's buyers loose on the engine; exit status 1 if a threshold was crossed or a promise broken."""
    run = f"k6-{time.time_ns() // 1_000_000}"
    RESULTS.parent.mkdir(exist_ok=True)
    with engine_at(None, data_dir, quiet=as_json) as url:
        with_books(data_dir, lambda books: make_drop(books, run, units, skus))
        environment = {
            "BASE_URL": url,
            "DROP_ID": run,
            "RUN": run,
            "RATE": str(rate),
            "SECONDS": str(seconds),
            "LATE_SECONDS": str(late_seconds),
            "RESULTS": str(RESULTS),
        }
        crossed = _k6(environment, seconds + late_seconds + AFTERWARDS_SECONDS, quiet=as_json)
        booked = with_books(data_dir, lambda books: settled_books(books, run, run))
    verdict = judge(json.loads(RESULTS.read_text())["metrics"], booked, crossed)
    if as_json:
        print_json(verdict)
    else:
        print_fields({name.replace("_", " "): str(value) for name, value in verdict.items() if name != "wrong"})
        for sentence in verdict["wrong"] or ["Clean: every threshold kept, nothing oversold, nothing lost."]:
            click.secho(sentence, fg="red" if verdict["wrong"] else "green")
    if verdict["wrong"]:
        raise SystemExit(1)


def _k6(environment: dict[str, str], timeout: int, *, quiet: bool) -> bool:
    """Run the script; whether a threshold was crossed."""
    # no report about this run to anybody, and no server of k6's own
    command = [str(Path(sys.executable).parent / "k6"), "run", "--no-usage-report", "--address", ""]
    command += ["--quiet"] if quiet else []
    output = subprocess.DEVNULL if quiet else None
    done = subprocess.run(
        [*command, str(SCRIPT)], env={**os.environ, **environment}, timeout=timeout, stdout=output, stderr=output
    )
    if done.returncode not in (0, THRESHOLDS_CROSSED):
        raise click.ClickException(f"k6 ended with status {done.returncode}; its output says why")
    return done.returncode == THRESHOLDS_CROSSED


def judge(metrics: dict[str, Any], booked: Booked, crossed: bool) -> dict[str, Any]:
    """What k6 measured beside what the books say, and in `wrong` a sentence for whatever doesn't agree."""
    told = {name: _count(metrics, f"orders_{name}") for name in ("accepted", "confirmed", "refused")}
    final = sum(order["status"] in FINAL for order in booked.orders)
    checks = {
        "a threshold was crossed; k6's output names it": crossed,
        f"{booked.sold} of {booked.units} units were sold": booked.sold > booked.units,
        f"{booked.units - booked.sold} units are left although buyers were refused": bool(
            booked.sold < booked.units and told["refused"]
        ),
        f"{len(booked.orders) - final} accepted orders are not final": final < len(booked.orders),
        f"{told['accepted']} buyers were told 202, the books hold {len(booked.orders)} orders": told["accepted"]
        != len(booked.orders),
        f"the audit found {booked.violations} violations": booked.violations > 0,
    }
    return {
        "units": booked.units,
        "sold": booked.sold,
        **told,
        "checkout_milliseconds": metrics["http_req_duration{name:checkout}"]["values"],
        "decision_seconds": metrics.get("decision_seconds", {}).get("values"),
        "dropped_iterations": _count(metrics, "dropped_iterations"),
        "audit_violations": booked.violations,
        "wrong": [sentence for sentence, broken in checks.items() if broken],
    }


def _count(metrics: dict[str, Any], name: str) -> int:
    return int(metrics.get(name, {}).get("values", {}).get("count", 0))


if __name__ == "__main__":
    main()
