"""What every buyer was told, in order: kept in memory for the checker, and written down line by line."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from loadtest.gameday.checker.records import Answer


class Diary:
    """The answers of one run. Its clock starts at 0 when it is made, at `epoch` seconds since 1970."""

    def __init__(self, path: Path) -> None:
        self.epoch = time.time()
        self.answers: list[Answer] = []
        self._began = time.monotonic()
        self._file = path.open("w")

    def now(self) -> float:
        """Seconds since the start, by a clock that never goes back."""
        return time.monotonic() - self._began

    def write(self, answer: Answer) -> None:
        """Add an answer."""
        self.answers.append(answer)
        self._file.write(json.dumps(asdict(answer)) + "\n")

    def close(self) -> None:
        """Let all of it be on the disk."""
        self._file.close()
