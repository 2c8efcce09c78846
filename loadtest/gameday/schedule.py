"""Which faults come when: drawn from the seed alone, so that a run that failed can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Card = TypeVar("Card")

FIRST_SECONDS = 1.5  # the crowd is at work by then
# How long the engine is left alone between two faults of one kind: parts come back within seconds on a busy machine.
BLOW_PAUSE = (3.0, 7.0)
ABSENCE_SECONDS, ABSENCE_PAUSE = (1.5, 5.0), (4.0, 9.0)
STRIPE_SECONDS, STRIPE_PAUSE = (3.0, 8.0), (0.5, 3.0)

_FUNCTIONS = ("checkout", "process_order", "charge_order", "reconcile")
# Decks: every card is dealt before any comes again, so that a longer run meets everything.
_BLOWS = (
    *(("kill", function) for function in _FUNCTIONS),
    ("kill", "pubsub"),
    ("kill", "stripe"),
    ("kill", "postgres"),
    ("crash", "postgres"),
    ("cut", "postgres"),
)
SCHEDULER = "scheduler"
_ABSENT = ("postgres", "pubsub", "process_order", "charge_order", "stripe", "checkout")
_STRIPE = (
    {"timeout_after": 0.3},
    {"error_500_before": 0.3, "error_500_after": 0.3},
    {"rate_limit": 0.4, "lock_timeout": 0.2},
    {"decline": 0.3},
    {"slow": 1.5, "timeout_before": 0.1},
    {"webhook_loss": 0.8},
    {"webhook_duplicate": 0.6, "webhook_reorder": 0.6, "webhook_delay": 3.0},
)


@dataclass(frozen=True)
class Fault:
    """Something that breaks, so many seconds after the crowd came; without a length it is done in a moment.

    `kind`: kill (SIGKILL), crash (PostgreSQL, SIGQUIT), cut (its connections), away (a part is down), stripe (the
    provider misbehaves, by `shares`).
    """

    at: float
    kind: str
    target: str
    seconds: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """The faults of one run, in order, and what goes wrong in the queue all the time."""

    faults: Sequence[Fault]
    pubsub_faults: str


def draw_schedule(seed: int, seconds: float, instances: int) -> Schedule:
    """Faults for a crowd that comes over `seconds`, at an engine with so many instances of each function."""
    draw = random.Random(f"faults/{seed}")

    def victim(name: str) -> str:
        return f"{name}-{draw.randint(1, instances)}" if name in _FUNCTIONS and instances > 1 else name

    faults = [
        *(
            Fault(at, kind, victim(name) if kind == "kill" else name)
            for at, _, (kind, name) in _lane(draw, seconds, _deal(draw, _BLOWS), (0.0, 0.0), BLOW_PAUSE)
        ),
        *(
            Fault(at, "away", name, length)
            for at, length, name in _lane(draw, seconds, _deal(draw, _ABSENT), ABSENCE_SECONDS, ABSENCE_PAUSE)
        ),
        *(
            Fault(at, "stripe", ", ".join(shares), length, shares)
            for at, length, shares in _lane(draw, seconds, _deal(draw, _STRIPE), STRIPE_SECONDS, STRIPE_PAUSE)
        ),
    ]
    start = round(draw.uniform(0.2, 0.5) * seconds, 2)
    faults.append(Fault(start, "away", SCHEDULER, round(seconds * draw.uniform(0.2, 0.4), 2)))
    return Schedule(sorted(faults, key=lambda fault: fault.at), _queue_faults(draw, seed))


def _queue_faults(draw: random.Random, seed: int) -> str:
    highest = {"duplicate": 0.4, "delay": 1.5, "reorder": 0.4, "drop_ack": 0.1, "refuse": 0.1}
    return f"seed={seed}," + ",".join(f"{name}={draw.uniform(0, most):.2f}" for name, most in highest.items())


def _deal(draw: random.Random, deck: Sequence[Card]) -> Iterator[Card]:
    while True:
        yield from draw.sample(deck, len(deck))


def _lane(
    draw: random.Random,
    seconds: float,
    cards: Iterator[Card],
    lengths: tuple[float, float],
    pauses: tuple[float, float],
) -> Iterator[tuple[float, float, Card]]:
    """When and for how long each card is in force: one after the other, until the time is up."""
    at = FIRST_SECONDS + draw.uniform(0, pauses[1])
    while (length := draw.uniform(*lengths)) + at < seconds:
        yield round(at, 2), round(length, 2), next(cards)
        at += length + draw.uniform(*pauses)
