"""A circuit breaker: while a part is down everybody is told at once, and a probe beside the requests looks for it.

No buyer in a crowd is the probe: the first requests of an outage pay its time-out, and nobody after them. A probe is
started by a request and runs beside it. Only who comes when nobody came for a while waits for the probe: what is known
of the part is old then, and where an instance gets no processor time between requests, nobody else could look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from common.logs import log
from common.settings import BREAKER_LULL_SECONDS, BREAKER_PAUSE_SECONDS


class Breaker:
    """Remembers that `part` is down. `probe` tries it, in bounded time, and raises if it still is."""

    def __init__(self, part: str, probe: Callable[[], Awaitable[object]]) -> None:
        self._part, self._probe = part, probe
        self._open = False
        self._probe_at = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._after_lull = False

    def trip(self, cause: str) -> None:
        """The part failed: tell so until a probe succeeds."""
        if not self._open:
            log(logging.WARNING, f"{self._part} is away", cause=cause)
        self._open = True
        self._probe_at = time.monotonic() + BREAKER_PAUSE_SECONDS

    async def is_open(self) -> bool:
        """Whether the part is known to be down. Asking starts a probe when one is due; after a lull it waits for it."""
        if self._open and self._probing is None and (overdue := time.monotonic() - self._probe_at) >= 0:
            self._after_lull = overdue >= BREAKER_LULL_SECONDS
            self._probing = asyncio.create_task(self._try())
        if self._probing and self._after_lull:
            await asyncio.wait({self._probing})
        return self._open

    async def _try(self) -> None:
        try:
            await self._probe()
        except Exception:  # whatever it is: the part isn't back
            self._probe_at = time.monotonic() + BREAKER_PAUSE_SECONDS
        else:
            self._open = False
            log(logging.INFO, f"{self._part} is back")
        finally:
            self._probing = None
