"""One JSON line for each log record, with the fields that Cloud Logging knows; readable lines on a terminal.

Nothing personal is logged: callers pass ids, counts and names of errors, never bodies. The text of an error may quote a
request, so an error is told by its type and by where it came from. Libraries append such texts to what they log, so
only their first line is told.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from contextvars import ContextVar
from typing import Any

from common.settings import settings

trace_context: ContextVar[str] = ContextVar("trace_context", default="")  # the request's traceparent, as it was sent
# W3C Trace Context, section 3.2: version, trace, span and flags; ff and zeros are no trace.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1  # a bit of the flags

logger = logging.getLogger("merchdrop")


def traceparent() -> str | None:
    """The traceparent of the request, if it is one."""
    return trace_context.get() if _TRACEPARENT.fullmatch(trace_context.get()) else None


class _CloudFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {"severity": record.levelname, "message": _message(record)}
        if labels := getattr(record, "labels", None):
            entry["logging.googleapis.com/labels"] = {key: str(value) for key, value in labels.items()}
        if match := _TRACEPARENT.fullmatch(trace_context.get()):
            entry["logging.googleapis.com/trace"] = f"projects/{settings().project}/traces/{match[1]}"
            entry["logging.googleapis.com/spanId"] = match[2]
            entry["logging.googleapis.com/trace_sampled"] = bool(int(match[3], 16) & _SAMPLED)
        if error := _error(record):
            entry["stack_trace"] = _stack(error)
        return json.dumps(entry)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        labels = " ".join(f"{key}={value}" for key, value in getattr(record, "labels", {}).items())
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {_message(record)} {labels}"
        error = _error(record)
        return line.rstrip() + (f"\n{_stack(error)}" if error else "")


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    return text if record.name == logger.name else text.partition("\n")[0]


def _error(record: logging.LogRecord) -> BaseException | None:
    """The error that a record is about. functions-framework writes it into the text, while it handles it."""
    if record.exc_info:
        return record.exc_info[1]
    return None if record.name == logger.name else sys.exc_info()[1]


def _stack(error: BaseException) -> str:
    """Where an error came from and what it is, without its text."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = f"{_stack(earlier)}\n\n" if earlier else ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}Traceback (most recent call last):\n{frames}{type(error).__qualname__}"


def configure_logging() -> None:
    """Send all records to standard output, once a process: this project's, and what libraries have to warn of."""
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_TextFormatter() if settings().log_format == "text" else _CloudFormatter())
    # gunicorn and uvicorn have handlers of their own by now, which write plain text
    for name in (None, logger.name, "gunicorn.error", "uvicorn.error"):
        logging.getLogger(name).handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log(severity: int, message: str, *, error: BaseException | None = None, **labels: object) -> None:
    """Log one line with labels; `error` adds its type and where it came from."""
    logger.log(severity, message, extra={"labels": labels}, exc_info=error)
