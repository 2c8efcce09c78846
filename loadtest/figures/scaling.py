"""How throughput behaves with more instances, and with more SKUs; where it stops growing, and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from loadtest.driving import Run
from loadtest.figures.checkout import accept
from loadtest.figures.hot_sku import reserve
from loadtest.figures.parts import cores_of, middle, rates
from loadtest.lab import Lab
from loadtest.report import Findings, compare
from loadtest.rounds import Plan, interleave
from loadtest.serving import Server, wait_until_answered
from loadtest.sides import EngineSide, Side
from loadtest.waits import Waits

INSTANCES = (1, 2, 4)
SKUS = (10, 1_000)
GROWS = 1.1  # a tenth more is more than what two runs of the same differ by
FULL = 0.9  # of a core or of all of them: there is no more to be had
Load = Callable[[Lab, Side, Server, float, int], Run]
PATHS: dict[str, Load] = {"checkout": accept, "process_order": reserve}


@dataclass(frozen=True)
class Sample:
    """A run, and what the database's backends were doing."""

    run: Run
    waits: str


def measure(lab: Lab, plan: Plan) -> Findings:
    """Both functions of the engine: more instances on one SKU, and more SKUs with one instance."""
    findings = Findings()
    for name, load in PATHS.items():
        with ExitStack() as stack:
            sides = {count: EngineSide(workers=count) for count in INSTANCES}
            servers = {count: stack.enter_context(side.serve(lab, name, 0)) for count, side in sides.items()}
            wait_until_answered(*servers.values())
            run = partial(_run, lab, load, plan.seconds)
            variants = {_title(count, 1): partial(run, sides[count], servers[count], 1) for count in INSTANCES}
            variants |= {_title(1, skus): partial(run, sides[1], servers[1], skus) for skus in SKUS}
            samples = interleave(plan, variants)
        one = rates([sample.run for sample in samples[_title(1, 1)]])
        for title in list(variants)[1:]:
            ours = rates([sample.run for sample in samples[title]])
            findings.rows.append(compare("scaling", f"{name}, {title}", "1/s", ours, _title(1, 1), one))
        findings.notes.append(_explain(name, [samples[_title(count, 1)] for count in INSTANCES]))
    return findings


def _title(instances: int, skus: int) -> str:
    return f"{instances} instance{'s' * (instances > 1)}, {skus} SKU{'s' * (skus > 1)}"


def _run(lab: Lab, load: Load, seconds: float, side: Side, server: Server, skus: int) -> Sample:
    with Waits(lab) as waits:
        run = load(lab, side, server, seconds, skus)
    return Sample(run, waits.most())


def _explain(name: str, by_instances: Sequence[Sequence[Sample]]) -> str:
    """Where it stops growing and why, from what the processes used and the backends were doing."""
    middles = [middle([sample.run for sample in samples]) for samples in by_instances]
    best = 0
    while best + 1 < len(INSTANCES) and middles[best + 1].rate > GROWS * middles[best].rate:
        best += 1
    run = middles[best]
    waits = next(sample.waits for sample in by_instances[best] if sample.run is run)
    grows = "grows with every instance tried" if best + 1 == len(INSTANCES) else f"stops growing at {INSTANCES[best]}"
    why = f"{_why(run, INSTANCES[best])}: {cores_of(run)}; PostgreSQL's backends were found {waits}"
    return f"scaling, {name}: {grows}. {why}."


def _why(run: Run, instances: int) -> str:
    cores = os.cpu_count() or 1
    if run.cores["machine"] >= FULL * cores:
        return f"There all {cores} cores of the machine are in use"
    if run.cores["function"] >= FULL * instances:
        return "There the instances' event loops have no more time"
    return "There neither the cores nor the event loops are full, so that the waiting is in the database"
