"""Refusals after the sell-out, each with its key looked up, beside an empty function."""

from __future__ import annotations

from functools import partial

from psycopg.types.json import Jsonb

from loadtest.driving import Run, drive, enough
from loadtest.figures.checkout import CONNECTIONS, answer_empty
from loadtest.figures.parts import TIMES_EMPTY, cores_of, empty_function, meters, middle, rates
from loadtest.lab import Lab
from loadtest.payloads import checkouts
from loadtest.report import Findings, compare
from loadtest.rounds import Plan, interleave
from loadtest.serving import BenchError, Server, wait_until_answered
from loadtest.sides import ENGINE
from local.database import DATABASE


def measure(lab: Lab, plan: Plan) -> Findings:
    """The engine with nothing left to sell, and the empty function."""
    with ENGINE.serve(lab, "checkout", CONNECTIONS) as server, empty_function(lab) as empty:
        wait_until_answered(server)
        runs = interleave(
            plan,
            {
                ENGINE.name: partial(_refuse, lab, server, plan.seconds),
                "empty": partial(answer_empty, lab, empty, plan.seconds),
            },
        )
    what, ours = f"sold out, {CONNECTIONS} at a time", rates(runs[ENGINE.name])
    row = compare("refusals", what, "1/s", ours, "empty", rates(runs["empty"]), TIMES_EMPTY)
    return Findings([row], [f"refusals: {cores_of(middle(runs[ENGINE.name]))}."])


def _refuse(lab: Lab, server: Server, seconds: float) -> Run:
    """Send new orders to a drop whose only unit is gone."""
    drop_id = lab.new_id("gone")
    ENGINE.open_drop(lab, drop_id, ["SKU-0"], stock=1)
    [order] = ENGINE.accept(lab, drop_id, ["SKU-0"], 1)
    with lab.connect(DATABASE) as connection:
        connection.execute("SELECT reserve_orders(%s)", [Jsonb([{"order_id": order["order_id"]}])])
    requests = checkouts(drop_id, ["SKU-0"], enough(seconds))
    costs = meters(lab, server)
    run = drive(lab, server, requests, connections=CONNECTIONS, seconds=seconds, expect=409, meters=costs)
    if ENGINE.count(lab, drop_id) != (1, 1):
        raise BenchError("something was stored for a buyer who was refused")
    return run
