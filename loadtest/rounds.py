"""Rounds that alternate between the sides, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Plan:
    """How long to measure, and whom to tell what is being done."""

    rounds: int
    seconds: float  # of one side's turn in one round, where the figure is a rate
    soak_minutes: float
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Spread:
    """What came out of all rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of one value a round."""
        return Spread(statistics.median(values), min(values), max(values))

    @staticmethod
    def of_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
        """Of the ratio, each round's numbers with each other."""
        return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])


def interleave(plan: Plan, variants: Mapping[str, Callable[[], Measured]]) -> dict[str, list[Measured]]:
    """Measure each variant once, then each once more, and so on; what each measured, by its name.

    The first round is not counted: pools fill, threads start, plans are made.
    """
    measured: dict[str, list[Measured]] = {name: [] for name in variants}
    for number in range(plan.rounds + 1):
        for name, measure in variants.items():
            plan.tell(f"round {number} of {plan.rounds}: {name}" if number else f"warming up: {name}")
            result = measure()
            if number:
                measured[name].append(result)
    return measured
