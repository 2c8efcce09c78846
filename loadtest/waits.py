"""What PostgreSQL's backends are found doing while a run is under way: working, or waiting for what."""

from __future__ import annotations

from collections import Counter
from threading import Event, Thread

from loadtest.lab import Lab
from local.postgres import OWNER

SAMPLE_SECONDS = 0.05

_ACTIVE = """
SELECT coalesce(wait_event_type || ' ' || wait_event, 'working') FROM pg_stat_activity
WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()
  AND wait_event IS DISTINCT FROM 'ClientRead'
"""


class Waits:
    """Looks at the backends twenty times a second for as long as the block lasts."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stop = Event()
        self._found: Counter[str] = Counter()
        self._thread = Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Waits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def most(self, count: int = 3) -> str:
        """The most frequent, as a sentence has them."""
        total = self._found.total()
        if not total:
            return "idle"
        return ", ".join(f"{name} {number / total:.0%}" for name, number in self._found.most_common(count))

    def _sample(self) -> None:
        with self._lab.connect(OWNER) as connection:
            while not self._stop.wait(SAMPLE_SECONDS):
                self._found.update(row[0] for row in connection.execute(_ACTIVE))
