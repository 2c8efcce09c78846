"""What the measuring itself costs: the proxy's own time, and the generator's share of a core."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from loadtest.driving import Run
from loadtest.figures.checkout import answer_empty
from loadtest.figures.hot_sku import CONNECTIONS, reserve
from loadtest.figures.parts import ROUND_TRIP_MS, empty_function, rates
from loadtest.lab import Lab
from loadtest.report import Findings, Row, Target, compare
from loadtest.rounds import Plan, Spread, interleave
from loadtest.serving import wait_until_answered
from loadtest.sides import ENGINE, PG8000

GENERATOR_CORES = 0.5  # at most, at what answers fastest: then it could drive twice as much


def measure(lab: Lab, plan: Plan) -> Findings:
    """Pings; both sides through a proxy that adds nothing, beside both without it; the generator at its busiest."""
    findings = Findings()
    variants: dict[str, Callable[[], Run]] = {}
    with ExitStack() as stack:
        near, far = stack.enter_context(lab.proxy(0)), stack.enter_context(lab.proxy(ROUND_TRIP_MS))
        pings = {
            "directly": None,
            "through the proxy": near.port,
            f"through the proxy + {ROUND_TRIP_MS:g} ms": far.port,
        }
        found = interleave(plan, {way: partial(lab.ping_ms, port) for way, port in pings.items()})
        findings.rows += [Row("control", f"SELECT 1 {way}", "ms", Spread.of(times)) for way, times in found.items()]
        for side in (ENGINE, PG8000):
            for way, proxy in (("directly", None), ("proxy", near)):
                server = stack.enter_context(side.serve(lab, "process_order", CONNECTIONS, proxy))
                wait_until_answered(server)
                variants[f"{side.name} {way}"] = partial(reserve, lab, side, server, plan.seconds)
        variants["empty"] = partial(answer_empty, lab, stack.enter_context(empty_function(lab)), plan.seconds)
        runs = interleave(plan, variants)
    for side in (ENGINE, PG8000):
        what, ours = f"hot SKU, {side.name} through the proxy", rates(runs[f"{side.name} proxy"])
        findings.rows.append(compare("control", what, "1/s", ours, "directly", rates(runs[f"{side.name} directly"])))
    share = Spread.of([run.cores["generator"] for run in runs["empty"]])
    target = Target(GENERATOR_CORES, at_least=False)
    findings.rows.append(Row("control", "the generator, driving the empty function", "cores", share, target=target))
    return findings
