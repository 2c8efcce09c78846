"""What an instance weighs: importing its main.py, after its first request, and under steady load."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import psutil

from loadtest.driving import Run, drive
from loadtest.figures.checkout import accept, new_buyers
from loadtest.figures.hot_sku import reserve, waiting_orders
from loadtest.lab import Lab
from loadtest.report import Findings, Row, Target
from loadtest.rounds import Plan, Spread, interleave
from loadtest.serving import Server, wait_until_answered
from loadtest.sides import ENGINE, Side
from local.recipes import FUNCTIONS, ROOT

IMPORT_CPU_SECONDS = 0.6
IMPORT_MEGABYTES = 100.0
LOAD_MEGABYTES = 200.0
GROWTH_MEGABYTES = 5.0  # in the second half of the load: what a fragmented heap may do, and a leak doesn't stop at
SLICE_SECONDS = 5.0  # of steady load, after which memory is looked at
MEGABYTE = 1024 * 1024
FIRST_SECONDS = 30.0  # at most: the first request makes the clients

Prepare = Callable[[Lab, Side, int], tuple[str, Iterator[bytes]]]
Load = Callable[[Lab, Side, Server, float], Run]

# Runs in a process of its own, which waits so that it can be looked at; functions-framework loads a file in this way.
_IMPORT = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("main", sys.argv[1])
sys.modules["main"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(time.process_time(), flush=True)
sys.stdin.read()
"""


def measure(lab: Lab, plan: Plan) -> Findings:
    """Imports of every function, and the load of those that buyers and Pub/Sub call."""
    imports = interleave(plan, {name: partial(_import, name) for name in FUNCTIONS})
    findings = Findings()
    for name in FUNCTIONS:
        cpu = Spread.of([seconds for seconds, _ in imports[name]])
        size = Spread.of([megabytes for _, megabytes in imports[name]])
        findings.rows += [
            Row("import", f"{name}: processor time", "s", cpu, target=Target(IMPORT_CPU_SECONDS, at_least=False)),
            Row("import", f"{name}: memory", "MB", size, target=Target(IMPORT_MEGABYTES, at_least=False)),
        ]
    findings.rows += _load(lab, plan, "checkout", new_buyers, 202, accept)
    findings.rows += _load(lab, plan, "process_order", waiting_orders, 204, reserve)
    return findings


def _import(name: str) -> tuple[float, float]:
    """Processor seconds and megabytes of a fresh process that has imported a function's main.py."""
    command = [sys.executable, "-c", _IMPORT, str(ROOT / "functions" / name / "main.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, text=True, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        seconds = float(process.stdout.readline())
        megabytes = psutil.Process(process.pid).memory_info().rss / MEGABYTE
    return seconds, megabytes


def _load(lab: Lab, plan: Plan, name: str, prepare: Prepare, status: int, load: Load) -> list[Row]:
    """An instance's memory after its first requests, and while it is kept busy."""
    sizes: list[float] = []
    with ENGINE.serve(lab, name, 0) as server:
        wait_until_answered(server)
        _, requests = prepare(lab, ENGINE, 1)
        drive(lab, server, requests, connections=1, seconds=FIRST_SECONDS, expect=status, warmup=0.0)
        first = server.rss_bytes() / MEGABYTE
        ends = time.monotonic() + 60 * plan.soak_minutes
        while time.monotonic() < ends or len(sizes) < 2:
            plan.tell(f"{name} under load, {max(0.0, ends - time.monotonic()):.0f} s to go")
            load(lab, ENGINE, server, SLICE_SECONDS)
            sizes.append(server.rss_bytes() / MEGABYTE)
    small, steady = Target(LOAD_MEGABYTES, at_least=False), Target(GROWTH_MEGABYTES, at_least=False)
    growth = sizes[-1] - sizes[len(sizes) // 2]
    return [
        Row("instance", f"{name}: memory after its first request", "MB", Spread.of([first])),
        Row("instance", f"{name}: memory under load, at most", "MB", Spread.of([max(sizes)]), target=small),
        Row("instance", f"{name}: growth in the second half", "MB", Spread.of([growth]), target=steady),
    ]
