"""What goes wrong at the Stripe stand-in: drawn from a seed and from each request's own identity.

So the same seed, with the same requests, makes the same faults, whoever is faster this time. A request that comes again
(under the same idempotency key, or for the same path) is drawn anew each time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SECONDS_MAX = 600.0  # for `slow` and `webhook_delay`; longer than any test waits
IDENTITIES_MAX = 200_000  # whose repetitions are counted; twice the payments that the store holds
_SECONDS = ("slow", "webhook_delay")
_DRAWN = (
    "timeout_before",
    "timeout_after",
    "error_500_before",
    "error_500_after",
    "rate_limit",
    "lock_timeout",
    "decline",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one request."""

    slow: float = 0.0
    timeout_before: bool = False
    timeout_after: bool = False
    error_500_before: bool = False
    error_500_after: bool = False
    rate_limit: bool = False
    lock_timeout: bool = False
    decline: bool = False


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of requests or of events (0 to 1), and seconds.

    `timeout_before` and `error_500_before` leave the work undone, the `_after` ones do it first. An answer of 500 is
    kept under the idempotency key, as Stripe does. `lock_timeout` befalls requests about one payment, as if another one
    held it; `decline` charges that would succeed; `slow` is how long every request takes, before its work is done.
    """

    seed: int = 0
    timeout_before: float = 0.0
    timeout_after: float = 0.0
    error_500_before: float = 0.0
    error_500_after: float = 0.0
    rate_limit: float = 0.0
    lock_timeout: float = 0.0
    decline: float = 0.0
    slow: float = 0.0
    webhook_loss: float = 0.0
    webhook_duplicate: float = 0.0
    webhook_delay: float = 0.0
    webhook_reorder: float = 0.0

    @staticmethod
    def parse(text: str) -> Faults:
        """Read `seed=7,timeout_after=0.1,slow=0.5`; what is left out does not happen.

        Raises:
            ValueError: an unknown name, or a value out of range; it says what there is.
        """
        values: dict[str, Any] = {}
        for pair in filter(None, text.split(",")):
            name, _, value = pair.partition("=")
            try:
                values[name] = int(value) if name == "seed" else float(value)
            except ValueError:
                raise ValueError(f"{name or pair!r} needs a number, as in {name or 'slow'}=0.5") from None
        return Faults.of(values)

    @staticmethod
    def of(values: Mapping[str, Any]) -> Faults:
        """Check values by name, such as those of a JSON object.

        Raises:
            ValueError: as `parse`.
        """
        for name, value in values.items():
            if name not in Faults.__dataclass_fields__:
                raise ValueError(f"unknown fault {name!r}; there are {', '.join(Faults.__dataclass_fields__)}")
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if name == "seed" and not (is_number and value == int(value)):
                raise ValueError("seed must be a whole number")
            highest = SECONDS_MAX if name in _SECONDS else 1
            if name != "seed" and not (is_number and 0 <= value <= highest):
                what = f"seconds, from 0 to {highest:.0f}" if name in _SECONDS else "a share, from 0 to 1"
                raise ValueError(f"{name} must be {what}")
        return Faults(**values)

    def to_json(self) -> dict[str, Any]:
        """All values by name."""
        return asdict(self)

    def plan(self, identity: str) -> Plan:
        """What happens to a request."""
        draw = random.Random(f"{self.seed}/{identity}")
        # Always all of them, in one order: raising one share must not change what else happens.
        drawn = {name: draw.random() < getattr(self, name) for name in _DRAWN}
        return Plan(slow=self.slow, **drawn)

    def deliveries(self, event_id: str) -> list[float]:
        """In how many seconds to deliver an event: not at all, once, or twice."""
        draw = random.Random(f"{self.seed}/{event_id}")
        lost, twice, is_held, first, second = (draw.random() for _ in range(5))
        if lost < self.webhook_loss:
            return []
        # With `webhook_reorder` only its share is late, and is overtaken by the rest; without, everything is late.
        is_late = is_held < self.webhook_reorder if self.webhook_reorder else self.webhook_delay > 0
        longest = self.webhook_delay or 1.0
        seconds = first * longest if is_late else 0.0
        return [seconds, seconds + second * longest] if twice < self.webhook_duplicate else [seconds]


class Fate:
    """The faults in force, and how often each request has come since they are."""

    def __init__(self, faults: Faults) -> None:
        self.set(faults)

    def set(self, faults: Faults) -> None:
        """Put other faults in force; counting begins anew, so that the same requests meet the same faults again."""
        self.faults = faults
        self._times: dict[str, int] = {}

    def plan(self, identity: str) -> Plan:
        """What happens to a request this time."""
        if len(self._times) >= IDENTITIES_MAX:
            self._times.clear()
        self._times[identity] = self._times.get(identity, 0) + 1
        return self.faults.plan(f"{identity}/{self._times[identity]}")
