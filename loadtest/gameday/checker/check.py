"""All checks together."""

from __future__ import annotations

from loadtest.gameday.checker import events, money, told, units
from loadtest.gameday.checker.records import Finding, Records

KINDS = {
    "oversold": "a unit was sold twice",
    "unsold": "a unit was withheld from an order that waited for it",
    "miscounted": "the counters are not what was sold",
    "not_final": "an accepted order has no final state",
    "no_answer": "a buyer was never answered",
    "told_unknown": "an accepted order was denied",
    "told_confirmed": "a buyer was told confirmed, and his order is not",
    "went_backwards": "a status went backwards",
    "order_differs": "an order is not what its buyer asked for",
    "two_orders": "one key has two orders",
    "charge_too_many": "a charge too many",
    "charge_missing": "a charge is missing",
    "charge_wrong": "money of a wrong amount moved",
    "event_missing": "an event is missing",
    "event_differs": "an event came with different contents",
    "event_order": "events came out of order",
}


def check(records: Records) -> list[Finding]:
    """Every broken promise that can be seen from outside; empty on a healthy system."""
    found = [finding for part in (units, told, money, events) for finding in part.find(records)]
    return sorted(found, key=lambda finding: (list(KINDS).index(finding.kind), finding.subject))
