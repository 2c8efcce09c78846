"""The journal of the Stripe stand-in: one JSON object a line, only ever appended to.

A line is with the operating system before its request is answered, so it survives the end of the process (not that of
the machine: there is no fsync). A line that was cut short belongs to a request that nobody was answered; it is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local.stripe_errors import Full

BYTES_MAX = 2 * 1024**3  # several times what all payments that the store holds write


class JournalError(Exception):
    """The journal can't be used; the text says what to do."""


class Journal:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise JournalError(f"cannot open the journal {path}: {error.strerror}") from None

    def read(self) -> Iterator[dict[str, Any]]:
        """Everything that was written, oldest first; to be read to the end before the first `append`.

        Raises:
            JournalError: a line before the last one is damaged.
        """
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    yield json.loads(line)
                except ValueError:
                    raise JournalError(
                        f"line {number} of {self._path} is damaged; restore or remove the file"
                    ) from None
                self._size += len(line)
        os.ftruncate(self._file, self._size)

    def append(self, entry: dict[str, Any]) -> None:
        """Write a line.

        Raises:
            Full: the journal has reached its bound; nothing was written.
            OSError: the disk is full or broken; nothing is left of the line.
        """
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        if self._size + len(line) > BYTES_MAX:
            raise Full(f"The journal has reached {BYTES_MAX} bytes; start with a new one.")
        written = os.write(self._file, line)
        if written != len(line):
            os.ftruncate(self._file, self._size)
            raise OSError(f"the journal took {written} of {len(line)} bytes; is the disk full?")
        self._size += len(line)
