"""What happened in every second: from the records alone, so that nobody had to watch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from loadtest.gameday.checker.records import Answer, Event, Records
from loadtest.gameday.crowd import ACCEPTED


@dataclass(frozen=True)
class Series:
    """One line of the chart: a value for each second."""

    title: str
    unit: str
    values: list[float]


def make_timeline(records: Records, epoch: float) -> list[Series]:
    """Accepts, reservations, charges, the queue's age and errors; `epoch` is when the run's clock was at 0."""
    answers = records.answers
    length = max((int(answer.ended) + 1 for answer in answers), default=1)

    def rate(title: str, moments: Iterable[float]) -> Series:
        seconds = Counter(int(moment) for moment in moments)
        return Series(title, "a second", [float(seconds[second]) for second in range(length)])

    def events(kind: str) -> Iterable[float]:
        return (event.at - epoch for event in records.events if event.type == kind)

    captures = (movement.at - epoch for movement in records.movements if movement.kind == "capture")
    return [
        rate("Orders accepted", _accepted(answers)),
        rate("Orders reserved", events("order.reserved")),
        rate("Charges", captures),
        Series("Age of the oldest undecided order", "seconds", _ages(records.events, epoch, length)),
        rate("Errors: no answer, or 5xx", (a.ended for a in answers if a.http == 0 or a.http >= 500)),
    ]


def _accepted(answers: Iterable[Answer]) -> Iterable[float]:
    """When each order was first told to be accepted."""
    first: dict[str, float] = {}
    for answer in answers:
        if answer.call == "checkout" and answer.http == ACCEPTED and answer.order_id:
            first.setdefault(answer.order_id, answer.ended)
    return first.values()


def _ages(events: Iterable[Event], epoch: float, length: int) -> list[float]:
    """How long the oldest order that was accepted and not yet decided had been waiting, at the end of each second."""
    ages = [0.0] * length
    of_order = pairwise(sorted(events, key=lambda event: (event.order_id, event.seq)))
    for accepted, decided in of_order:
        if accepted.seq == 1 and decided.order_id == accepted.order_id:
            began, ended = accepted.at - epoch, decided.at - epoch
            for second in range(max(0, int(began)), min(length, int(ended))):
                ages[second] = max(ages[second], second + 1 - began)
    return [round(age, 2) for age in ages]
