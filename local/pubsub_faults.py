"""What goes wrong in the Pub/Sub emulator when it is told to, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from local.pubsub_limits import FAULT_DELAY_SECONDS_MAX


@dataclass(frozen=True)
class Faults:
    """Shares (0 to 1) of deliveries, and of Publish calls that are refused; `delay` is the longest delay in seconds.

    What happens to a delivery is drawn from the seed and its message alone, what happens to a Publish call from the
    seed and its number: the same whoever is faster this time.
    """

    seed: int = 0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    drop_ack: float = 0.0
    refuse: float = 0.0

    @staticmethod
    def parse(text: str) -> Faults:
        """Read `seed=7,duplicate=0.3,delay=2,reorder=0.2,drop_ack=0.1,refuse=0.1`; what is left out does not happen.

        Raises:
            ValueError: an unknown name, or something that is no number in range.
        """
        values: dict[str, Any] = {}
        for pair in filter(None, text.split(",")):
            name, _, value = pair.partition("=")
            if name not in Faults.__dataclass_fields__:
                raise ValueError(f"unknown fault {name!r}; there are {', '.join(Faults.__dataclass_fields__)}")
            values[name] = int(value) if name == "seed" else float(value)
            if name != "seed" and not 0 <= values[name] <= (FAULT_DELAY_SECONDS_MAX if name == "delay" else 1):
                raise ValueError(
                    f"{name} must be a share from 0 to 1 (delay: seconds, at most {FAULT_DELAY_SECONDS_MAX:.0f})"
                )
        return Faults(**values)

    def offers(self, key: str) -> list[float]:
        """In how many seconds to deliver a message, and its duplicate if it has one."""
        if not (self.duplicate or self.delay or self.reorder):
            return [0.0]
        draw = random.Random(f"{self.seed}/{key}")
        # With `reorder` only its share is late, and is overtaken by the rest; without, everything is late.
        is_late = draw.random() < self.reorder or (self.delay > 0 and not self.reorder)
        first = draw.random() * (self.delay or 1.0) if is_late else 0.0
        is_twice, later = draw.random() < self.duplicate, draw.random() * self.delay
        return [first, first + later] if is_twice else [first]

    def drops_ack(self, key: str, attempt: int) -> bool:
        """Whether the answer to this delivery gets lost."""
        return self.drop_ack > 0 and random.Random(f"{self.seed}/{key}/{attempt}").random() < self.drop_ack

    def refuses(self, topic: str, number: int) -> bool:
        """Whether a topic's Publish call of this number is answered UNAVAILABLE, and keeps nothing."""
        return self.refuse > 0 and random.Random(f"{self.seed}/{topic}/{number}").random() < self.refuse
