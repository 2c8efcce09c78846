"""What the parts say, on one terminal, line by line.

Nobody may be reading: a part must never wait for a full pipe to drain, and the supervisor even less. So every
part's output is always read, and a thread of its own prints as fast as the reader takes it; what the queue
can't hold is dropped, and counted.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from contextlib import suppress
from typing import TextIO

LINES_MAX = 2_000  # some screens; whoever reads slower than the parts write has lost the thread anyway
LINE_CHARACTERS_MAX = 64 * 1024
FLUSH_SECONDS = 1.0


class Terminal:
    """One writer for all parts: readable lines in the `text` format, records in the `json` format."""

    def __init__(self, log_format: str, descriptor: int | None = None) -> None:
        self.log_format = log_format
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_MAX)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="terminal", daemon=True)
        self._writer.start()

    def pipe(self, name: str) -> int:
        """A descriptor to be a part's output, for all its lives; a thread hands its lines on."""
        reading, writing = os.pipe()
        source = os.fdopen(reading, encoding="utf-8", errors="replace")
        threading.Thread(target=self._forward, args=(name, source), name=f"output of {name}", daemon=True).start()
        return writing

    def say(self, text: str) -> None:
        """Print a line for people as it is."""
        try:
            self._lines.put_nowait(text + "\n")
        except queue.Full:
            self._dropped += 1

    def report(self, name: str, text: str) -> None:
        """Print a line of a part, or about it."""
        self.say(self._line(name, text))

    def close(self) -> None:
        """Give what is waiting a moment to be printed."""
        try:
            self._lines.put(None, timeout=FLUSH_SECONDS)
        except queue.Full:
            return
        self._writer.join(FLUSH_SECONDS)

    def _line(self, name: str, text: str) -> str:
        if self.log_format == "text":
            return f"{name:<15} | {text}"
        record = {"severity": "INFO", "message": text}
        with suppress(ValueError, RecursionError):
            if isinstance(parsed := json.loads(text), dict):
                record = parsed
        return json.dumps({"part": name, **record})

    def _forward(self, name: str, source: TextIO) -> None:
        while line := source.readline(LINE_CHARACTERS_MAX):
            if text := line.rstrip():
                self.report(name, text)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._dropped:
                line += self._line("engine", f"{self._dropped} lines were dropped: nobody read them in time") + "\n"
                self._dropped = 0
            self._print(line.encode())

    def _print(self, content: bytes) -> None:
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError:
            return  # the terminal is gone; the engine isn't
