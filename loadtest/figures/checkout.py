"""Accepted checkouts a second, new keys, beside the baseline and beside an empty function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from loadtest.driving import Run, drive, enough
from loadtest.figures.parts import (
    DIRECT,
    FAR,
    TIMES_EMPTY,
    both_sides,
    cores_of,
    empty_function,
    longer,
    meters,
    middle,
    rates,
)
from loadtest.lab import Lab
from loadtest.payloads import checkouts
from loadtest.report import Findings, compare
from loadtest.rounds import Plan, interleave
from loadtest.serving import BenchError, Server
from loadtest.sides import ENGINE, PG8000, PSYCOPG, Side

CONNECTIONS = 128
TIMES_BASELINE = 5.0


def measure(lab: Lab, plan: Plan) -> Findings:
    """Both sides, directly and with a round trip added, and the empty function."""
    with both_sides(lab, "checkout", CONNECTIONS) as (servers, far), empty_function(lab) as empty:
        variants: dict[str, Callable[[], Run]] = {
            side.name + where: partial(accept, lab, side, server, plan.seconds)
            for (side, where), server in servers.items()
        }
        variants["empty"] = partial(answer_empty, lab, empty, plan.seconds)
        runs = interleave(plan, variants)
        findings = Findings(notes=[f"checkout: {longer(lab, far)}."])
    for where in (DIRECT, FAR):
        what, ours = f"accepted, {CONNECTIONS} at a time{where}", rates(runs[ENGINE.name + where])
        for side, bound in ((PG8000, TIMES_BASELINE), (PSYCOPG, None)):
            theirs = rates(runs[side.name + where])
            findings.rows.append(compare("checkout", what, "1/s", ours, side.name, theirs, bound))
    what, ours = f"accepted, {CONNECTIONS} at a time", rates(runs[ENGINE.name])
    findings.rows.append(compare("checkout", what, "1/s", ours, "empty", rates(runs["empty"]), TIMES_EMPTY))
    for name in (ENGINE.name, PG8000.name, "empty"):
        findings.notes.append(f"checkout, {name}: {cores_of(middle(runs[name]))}.")
    return findings


def new_buyers(lab: Lab, side: Side, count: int, skus: int = 1) -> tuple[str, Iterator[bytes]]:
    """A new drop, and so many orders for it."""
    drop_id, names = lab.new_id("checkout"), [f"SKU-{number}" for number in range(skus)]
    side.open_drop(lab, drop_id, names)
    return drop_id, checkouts(drop_id, names, count)


def accept(lab: Lab, side: Side, server: Server, seconds: float, skus: int = 1) -> Run:
    """Send new orders to a new drop for so long; every 202 must be an order in the database."""
    drop_id, requests = new_buyers(lab, side, enough(seconds), skus)
    costs = meters(lab, server)
    run = drive(lab, server, requests, connections=CONNECTIONS, seconds=seconds, expect=202, meters=costs)
    check_stored(lab, side, drop_id, run)
    return run


def check_stored(lab: Lab, side: Side, drop_id: str, run: Run) -> None:
    """Raise BenchError unless every order that was answered 202 is there."""
    stored, _ = side.count(lab, drop_id)
    if stored != run.answers_in_all:
        raise BenchError(f"{side.name} answered 202 {run.answers_in_all} times, and stored {stored} orders")


def answer_empty(lab: Lab, server: Server, seconds: float) -> Run:
    """The same requests for the function that does nothing."""
    requests = checkouts(lab.new_id("empty"), ["SKU-0"], enough(seconds))
    costs = {"function": server.cpu_seconds}
    return drive(lab, server, requests, connections=CONNECTIONS, seconds=seconds, expect=202, meters=costs)
