"""What came of a game day: the findings, and the figures that say what the run was worth."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from loadtest.gameday.checker.check import KINDS, check
from loadtest.gameday.crowd import ACCEPTED
from loadtest.gameday.play import SETTLE_SECONDS, Played
from loadtest.gameday.saboteur import HEAL_SECONDS
from loadtest.gameday.schedule import Schedule

FINDINGS_MAX = 1_000  # written down; whoever has more has one cause


def judge(played: Played, schedule: Schedule, seed: int, command: str) -> dict[str, Any]:
    """The verdict; `wrong` has a sentence for every kind of broken promise, and is empty on a clean run."""
    findings = check(played.records)
    kinds = Counter(finding.kind for finding in findings)
    wrong = [f"{KINDS[kind]} ({number})" for kind, number in kinds.items()]
    if played.settled_seconds is None:
        wrong.append(f"the system did not settle in {SETTLE_SECONDS:.0f} s")
    if played.missing:
        wrong.append(f"not back {HEAL_SECONDS:.0f} s after the faults: {played.missing}")
    return {
        "seed": seed,
        "command": command,
        "wrong": wrong,
        "figures": _figures(played),
        "faults_stopped_seconds": round(played.crowd_seconds, 1),
        "findings": [asdict(finding) for finding in findings[:FINDINGS_MAX]],
        "pubsub_faults": schedule.pubsub_faults,
        "faults": [done.document() for done in played.faults],
    }


def _figures(played: Played) -> dict[str, Any]:
    records = played.records
    checkouts = [answer for answer in records.answers if answer.call == "checkout"]
    refused = Counter(answer.status for answer in checkouts if 400 <= answer.http < 500)
    moved = Counter[str]()
    for movement in records.movements:
        moved[movement.kind] += 1
    return {
        "buyers": len(records.wanted),
        "checkout calls": len(checkouts),
        "told 202": sum(answer.http == ACCEPTED for answer in checkouts),
        "refused": dict(refused),
        "calls without an answer, or with 5xx": sum(a.http == 0 or a.http >= 500 for a in records.answers),
        "orders": dict(Counter(order.status for order in records.orders)),
        "units": sum(sum(sale.stock.values()) for sale in records.sales.values()),
        "sold": sum(sum(order.lines.values()) for order in records.orders if order.status == "confirmed"),
        "captures": moved["capture"],
        "refunds": moved["refund"],
        "events": len(records.events),
        "events delivered, repetitions included": len(records.delivered),
        "settled after the faults, in seconds": played.settled_seconds and round(played.settled_seconds, 1),
    }
