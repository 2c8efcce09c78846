"""reserve_orders over one connection, beside pgbench with the textbook transaction and 32 clients on one server."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from psycopg.types.json import Jsonb

from loadtest.lab import BASELINE_DATABASE, Lab
from loadtest.report import Findings, compare
from loadtest.rounds import Plan, interleave
from loadtest.serving import BenchError
from loadtest.sides import ENGINE
from local.database import DATABASE
from local.machine import HOST
from local.postgres import BINARIES, OWNER

TIMES_PGBENCH = 5.0
TIMES_SMALLER_BATCH = 1.0
CLIENTS = 32
SMALL, LARGE = 100, 500
ORDERS_PER_SECOND = 3_000  # each size of batch gets so many orders for each second of pgbench
PRICE_MINOR = {"paid": 3500, "free": 0}  # a free order passes through reserved to confirmed: twice the bookkeeping
PGBENCH_SECONDS_MORE = 60.0

TABLES = """
CREATE TABLE textbook_items (id integer PRIMARY KEY, stock bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE textbook_orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item_id integer NOT NULL,
                              customer_id bigint NOT NULL, quantity integer NOT NULL, at timestamptz DEFAULT now());
INSERT INTO textbook_items VALUES (1, 1000000000);
"""
TRANSACTION = r"""
\set customer random(1, 1000000000)
BEGIN;
SELECT stock FROM textbook_items WHERE id = 1 FOR UPDATE;
UPDATE textbook_items SET stock = stock - 1 WHERE id = 1;
INSERT INTO textbook_orders (item_id, customer_id, quantity) VALUES (1, :customer, 1);
COMMIT;
"""


def measure(lab: Lab, plan: Plan) -> Findings:
    """Batches of two sizes, of paid and of free orders, and pgbench."""
    with lab.connect(BASELINE_DATABASE) as connection:
        connection.execute(TABLES)
    script = lab.directory / "textbook.sql"
    script.write_text(TRANSACTION)
    variants: dict[str, Callable[[], float]] = {"pgbench": partial(_pgbench, lab, plan, script)}
    for kind in PRICE_MINOR:
        for size in (SMALL, LARGE):
            variants[f"{kind}, {size}"] = partial(_reserve, lab, plan, kind, size)
    rates = interleave(plan, variants)
    findings = Findings()
    for kind in PRICE_MINOR:
        small, large = rates[f"{kind}, {SMALL}"], rates[f"{kind}, {LARGE}"]
        what, pgbench, hundred = f"{kind} orders, batches of", f"pgbench, {CLIENTS} clients", f"batches of {SMALL}"
        findings.rows += [
            compare("reserve_orders", f"{what} {SMALL}", "1/s", small, pgbench, rates["pgbench"], TIMES_PGBENCH),
            compare("reserve_orders", f"{what} {LARGE}", "1/s", large, hundred, small, TIMES_SMALLER_BATCH),
        ]
    return findings


def _reserve(lab: Lab, plan: Plan, kind: str, size: int) -> float:
    """Orders decided a second, for new buyers of one SKU."""
    drop_id, price = lab.new_id("batch"), PRICE_MINOR[kind]
    ENGINE.open_drop(lab, drop_id, ["SKU-0"], price=price)
    orders = ENGINE.accept(lab, drop_id, ["SKU-0"], LARGE * round(ORDERS_PER_SECOND * plan.seconds / LARGE), price)
    batches = [[{"order_id": one["order_id"]} for one in orders[at : at + size]] for at in range(0, len(orders), size)]
    with lab.connect(DATABASE) as connection:
        started = time.perf_counter()
        for batch in batches:
            connection.execute("SELECT reserve_orders(%s)", [Jsonb(batch)], prepare=True)
        seconds = time.perf_counter() - started
    _, gone = ENGINE.count(lab, drop_id)
    if gone != len(orders):
        raise BenchError(f"of {len(orders)} orders {gone} were reserved")
    return len(orders) / seconds


def _pgbench(lab: Lab, plan: Plan, script: Path) -> float:
    """Transactions a second; prepared statements, which are the fastest that pgbench has."""
    command = [str(BINARIES / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={script}"]
    command += [f"--client={CLIENTS}", f"--jobs={os.cpu_count()}", f"--time={max(1, round(plan.seconds))}"]
    command += [f"--host={HOST}", f"--port={lab.postgres.port}", f"--username={OWNER}", BASELINE_DATABASE]
    environment = {**os.environ, "PGPASSWORD": lab.postgres.password}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=plan.seconds + PGBENCH_SECONDS_MORE
    )
    found = re.search(r"^tps = ([\d.]+) \(without", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise BenchError(f"pgbench failed: {done.stderr}")
    return float(found[1])
