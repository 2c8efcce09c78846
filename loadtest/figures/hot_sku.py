"""Reserved orders a second on one hot SKU, through Pub/Sub's push requests, beside the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from loadtest.driving import WARMUP_SECONDS, Run, drive
from loadtest.figures.parts import DIRECT, FAR, both_sides, cores_of, longer, meters, middle, rates
from loadtest.lab import Lab
from loadtest.payloads import pushes
from loadtest.report import Findings, compare
from loadtest.rounds import Plan, interleave
from loadtest.serving import BenchError, Server
from loadtest.sides import ENGINE, PG8000, PSYCOPG, Side

CONNECTIONS = 64
TIMES_BASELINE = {DIRECT: 5.0, FAR: 20.0}
PRICE_MINOR = 3500  # an order that is paid for stays reserved
# Orders that wait for each second of a run; if they run out, the run ends with the last of them.
ENGINE_ORDERS = 5_000
BASELINE_ORDERS = 1_500


def measure(lab: Lab, plan: Plan) -> Findings:
    """Both sides, directly and with a round trip added."""
    with both_sides(lab, "process_order", CONNECTIONS) as (servers, far):
        variants = {
            side.name + where: partial(reserve, lab, side, server, plan.seconds)
            for (side, where), server in servers.items()
        }
        runs = interleave(plan, variants)
        findings = Findings(notes=[f"hot SKU: {longer(lab, far)}."])
    for where in (DIRECT, FAR):
        what, ours = f"reserved, {CONNECTIONS} at a time{where}", rates(runs[ENGINE.name + where])
        for side, bound in ((PG8000, TIMES_BASELINE[where]), (PSYCOPG, None)):
            theirs = rates(runs[side.name + where])
            findings.rows.append(compare("hot SKU", what, "1/s", ours, side.name, theirs, bound))
    findings.notes += [f"hot SKU, {name}: {cores_of(middle(runs[name]))}." for name in (ENGINE.name, PG8000.name)]
    return findings


def waiting_orders(lab: Lab, side: Side, count: int, skus: int = 1) -> tuple[str, Iterator[bytes]]:
    """A new drop, and the messages of so many orders that wait in it."""
    drop_id, names = lab.new_id("hot"), [f"SKU-{number}" for number in range(skus)]
    side.open_drop(lab, drop_id, names, price=PRICE_MINOR)
    return drop_id, pushes(side.accept(lab, drop_id, names, count, PRICE_MINOR))


def reserve(lab: Lab, side: Side, server: Server, seconds: float, skus: int = 1) -> Run:
    """Push messages for so long; every acknowledgement must be a unit that is gone."""
    orders = ENGINE_ORDERS if side.name == ENGINE.name else BASELINE_ORDERS
    drop_id, requests = waiting_orders(lab, side, int(orders * (seconds + WARMUP_SECONDS)), skus)
    costs = meters(lab, server)
    run = drive(lab, server, requests, connections=CONNECTIONS, seconds=seconds, expect=204, meters=costs)
    check_reserved(lab, side, drop_id, run)
    return run


def check_reserved(lab: Lab, side: Side, drop_id: str, run: Run) -> None:
    """Raise BenchError unless every acknowledged order has its unit."""
    _, gone = side.count(lab, drop_id)
    if gone != run.answers_in_all:
        raise BenchError(f"{side.name} acknowledged {run.answers_in_all} orders, and {gone} units are gone")
