"""How many requests a second the Stripe stand-in takes, as Stripe has it: for each endpoint, and for all together."""

from __future__ import annotations

import time
from collections import deque

from local.stripe_errors import rate_limited

ENDPOINT_RATE = 25  # Stripe's own limits in live mode
TOTAL_RATE = 100


class Rates:
    """Limits within any one second; 0 means none. Refused requests don't count."""

    def __init__(self, endpoint: int, total: int) -> None:
        self._endpoint, self._total = endpoint, total
        self._taken: dict[str, deque[float]] = {}

    def take(self, endpoint: str) -> None:
        """Count a request.

        Raises:
            StripeError: there were too many in the last second.
        """
        now = time.monotonic()
        windows = [("endpoint-rate", endpoint, self._endpoint), ("global-rate", "", self._total)]
        limited = [(reason, self._window(name, now), limit) for reason, name, limit in windows if limit]
        for reason, window, limit in limited:
            if len(window) >= limit:
                raise rate_limited(reason)
        for _, window, _ in limited:
            window.append(now)

    def _window(self, name: str, now: float) -> deque[float]:
        window = self._taken.setdefault(name, deque())
        while window and window[0] <= now - 1.0:
            window.popleft()
        return window
