"""The Pub/Sub emulator's journal: lines in a file, which outlive the process.

It is written without fsync: what is written survives the end of the process, however it ends, not that of the machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from local.pubsub_limits import JOURNAL_BYTES_MIN


class Journal:
    """An append-only file of lines: read it, rewrite it with what still counts, then write to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)  # a buffer would die with the process
        self._waiting: list[bytes] = []  # lines for `write_soon`
        self._size = self._size_max = 0

    def read(self) -> Iterator[bytes]:
        """The lines so far. The last one may be half a line, of a process that was killed: that is left out."""
        with self._path.open("rb") as file:
            yield from (line[:-1] for line in file if line.endswith(b"\n"))

    def rewrite(self, lines: Iterable[bytes]) -> None:
        """Replace everything in one step: whoever is killed meanwhile finds the old file, whole."""
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.writelines(line + b"\n" for line in lines)
        os.replace(fresh, self._path)
        self._file.close()
        self._file = self._path.open("ab", buffering=0)
        self._size = self._path.stat().st_size
        self._size_max = max(JOURNAL_BYTES_MIN, 2 * self._size)

    def has_outgrown(self) -> bool:
        """Whether it has doubled since it was rewritten: often enough to stay short, too seldom to cost much."""
        return self._size > self._size_max

    def write(self, *lines: bytes) -> None:
        """Append lines. When this returns, kill -9 can't undo them.

        Raises:
            OSError: such as a full disk; none of the lines is kept.
        """
        data = b"".join(line + b"\n" for line in (*self._waiting, *lines))
        self._waiting.clear()
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError:
            self._file.truncate(self._size)  # half a line would spoil the next one
            raise
        self._size += len(data)

    def write_soon(self, line: bytes) -> None:
        """Append a line together with others of the same moment; only for what may get lost."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.write)
        self._waiting.append(line)
