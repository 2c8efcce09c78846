"""What a step of reconcile answers."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """What was done, counted; and if there is more, in how many seconds to go on with it."""

    counts: dict[str, int]
    again_seconds: float | None
