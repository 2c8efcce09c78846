"""Reserved orders a second on one hot SKU, through Pub/Sub's push requests, beside the baseline."""

from __future__ import annotations

from functools import partial

from loadtest.driving import WARMUP_SECONDS, Run, drive
from loadtest.figures.parts import DIRECT, FAR, both_sides, cores_of, meters, rates
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
    with both_sides(lab, "process_order", CONNECTIONS) as servers:
        variants = {
            side.name + where: partial(reserve, lab, plan.seconds, side, server) for (side, where), server in servers.items()
        }
        runs = interleave(plan, variants)
    findings = Findings()
    for where in (DIRECT, FAR):
        what, ours = f"reserved, {CONNECTIONS} at a time{where}", rates(runs[ENGINE.name + where])
        for side, bound in ((PG8000, TIMES_BASELINE[where]), (PSYCOPG, None)):
            theirs = rates(runs[side.name + where])
            findings.rows.append(compare("hot SKU", what, "1/s", ours, side.name, theirs, bound))
    findings.notes += [f"hot SKU, {name}: {cores_of(runs[name])}." for name in (ENGINE.name, PG8000.name)]
    return findings


def reserve(lab: Lab, seconds: float, side: Side, server: Server, _number: int, skus: int = 1) -> Run:
    """Push the messages of orders that wait in a new drop; every acknowledgement must be a unit that is gone."""
    drop_id, names = lab.new_id("hot"), [f"SKU-{number}" for number in range(skus)]
    side.open_drop(lab, drop_id, names, price=PRICE_MINOR)
    count = int((ENGINE_ORDERS if side.name == ENGINE.name else BASELINE_ORDERS) * (seconds + WARMUP_SECONDS))
    requests = pushes(side.accept(lab, drop_id, names, count, PRICE_MINOR))
    costs = meters(lab, server)
    run = drive(lab, server, requests, connections=CONNECTIONS, seconds=seconds, expect=204, meters=costs)
    _, gone = side.count(lab, drop_id)
    if gone != run.answers_in_all:
        raise BenchError(f"{side.name} acknowledged {run.answers_in_all} orders, and {gone} units are gone")
    return run
