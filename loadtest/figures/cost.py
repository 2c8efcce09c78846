"""What an order costs that no noise touches: round trips to PostgreSQL, and bytes of its write-ahead log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from loadtest.driving import Run, drive
from loadtest.figures import checkout, hot_sku
from loadtest.lab import Lab, Proxy
from loadtest.report import Findings, compare
from loadtest.rounds import Plan, interleave
from loadtest.serving import Server, wait_until_answered
from loadtest.sides import ENGINE, PG8000, PSYCOPG, SIDES, Side
from local.postgres import OWNER

# A baseline's orders are all alike; the engine's come in batches, so that it takes more of them for a mean.
ENGINE_ORDERS, BASELINE_ORDERS = 2_000, 300
SECONDS_MAX = 60.0  # they take a fraction of that


@dataclass(frozen=True)
class Path:
    """One way of an order through a function."""

    name: str
    function: str
    connections: int
    status: int
    prepare: Callable[[Lab, Side, int], tuple[str, Iterator[bytes]]]
    check: Callable[[Lab, Side, str, Run], None]


PATHS = (
    Path("accepted", "checkout", checkout.CONNECTIONS, 202, checkout.new_buyers, checkout.check_stored),
    Path("reserved", "process_order", hot_sku.CONNECTIONS, 204, hot_sku.waiting_orders, hot_sku.check_reserved),
)


@dataclass(frozen=True)
class Cost:
    """Of one order."""

    round_trips: float
    wal_bytes: float


def measure(lab: Lab, plan: Plan) -> Findings:
    """Both paths, both sides, through proxies that only count."""
    findings = Findings()
    for path in PATHS:
        with ExitStack() as stack:
            variants = {}
            for side in SIDES:
                proxy = stack.enter_context(lab.proxy(0))
                server = stack.enter_context(side.serve(lab, path.function, path.connections, proxy))
                wait_until_answered(server)
                variants[side.name] = partial(_spend, lab, path, side, server, proxy)
            # The first write to a page after a checkpoint logs all of it: let that be in the round that doesn't count.
            with lab.connect(OWNER) as connection:
                connection.execute("CHECKPOINT")
            costs = interleave(plan, variants)
        for side in (PG8000, PSYCOPG):
            ours, theirs = costs[ENGINE.name], costs[side.name]
            what = f"an order {path.name}, {path.connections} at a time"
            findings.rows += [
                compare("cost", what, "round trips", _trips(ours), side.name, _trips(theirs)),
                compare("cost", what, "WAL bytes", _bytes(ours), side.name, _bytes(theirs)),
            ]
    return findings


def _trips(costs: Sequence[Cost]) -> list[float]:
    return [cost.round_trips for cost in costs]


def _bytes(costs: Sequence[Cost]) -> list[float]:
    return [cost.wal_bytes for cost in costs]


def _spend(lab: Lab, path: Path, side: Side, server: Server, proxy: Proxy) -> Cost:
    """Send so many orders and see what they cost."""
    count = ENGINE_ORDERS if side.name == ENGINE.name else BASELINE_ORDERS
    drop_id, requests = path.prepare(lab, side, count)
    log, trips = _log_position(lab), proxy.round_trips()
    run = drive(
        lab, server, requests, connections=path.connections, seconds=SECONDS_MAX, expect=path.status, warmup=0.0
    )
    cost = Cost((proxy.round_trips() - trips) / count, (_log_position(lab) - log) / count)
    path.check(lab, side, drop_id, run)
    return cost


def _log_position(lab: Lab) -> float:
    with lab.connect(OWNER) as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert row
    return float(row[0])
