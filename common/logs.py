"""One JSON line for each log record, with the fields that Cloud Logging knows; readable lines on a terminal.

Nothing personal is logged: callers pass ids, counts and names of errors, never bodies.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from typing import Any

from common.settings import settings

trace_context: ContextVar[str] = ContextVar("trace_context", default="")  # W3C traceparent of the request
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")

logger = logging.getLogger("merchdrop")


class _CloudFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {"severity": record.levelname, "message": record.getMessage()}
        if labels := getattr(record, "labels", None):
            entry["logging.googleapis.com/labels"] = {key: str(value) for key, value in labels.items()}
        if match := _TRACEPARENT.match(trace_context.get()):
            entry["logging.googleapis.com/trace"] = f"projects/{settings().project}/traces/{match[1]}"
            entry["logging.googleapis.com/spanId"] = match[2]
            entry["logging.googleapis.com/trace_sampled"] = match[3] == "01"
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        labels = " ".join(f"{key}={value}" for key, value in getattr(record, "labels", {}).items())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()} {labels}"
        return line.rstrip() + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def configure_logging() -> None:
    """Send this project's records to standard output, once a process."""
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_TextFormatter() if settings().log_format == "text" else _CloudFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log(severity: int, message: str, *, error: BaseException | None = None, **labels: object) -> None:
    """Log one line with labels; `error` adds its stack trace."""
    logger.log(severity, message, extra={"labels": labels}, exc_info=error)
