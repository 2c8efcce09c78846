"""What a log line holds: the trace of a request that has one, and of an error everything but its text."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from common.logs import _CloudFormatter, _TextFormatter, trace_context, traceparent
from common.settings import settings

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PERSONAL = "jane@example.com"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MERCHDROP_DATABASE_URL", "postgresql://nowhere")
    settings.cache_clear()
    yield
    settings.cache_clear()
    trace_context.set("")


@pytest.mark.parametrize(
    ("header", "sampled"),
    [(f"00-{TRACE}-{SPAN}-01", True), (f"00-{TRACE}-{SPAN}-00", False), (f"01-{TRACE}-{SPAN}-03", True)],
)
def test_a_trace_is_told_to_the_cloud_and_handed_on(header: str, sampled: bool) -> None:
    trace_context.set(header)
    assert traceparent() == header
    entry = json.loads(_CloudFormatter().format(record("merchdrop", "told")))
    assert entry["logging.googleapis.com/trace"] == f"projects/merchdrop-local/traces/{TRACE}"
    assert entry["logging.googleapis.com/spanId"] == SPAN
    assert entry["logging.googleapis.com/trace_sampled"] is sampled


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01" + "x" * 2000,
    ],
)
def test_what_is_no_trace_is_ignored(header: str) -> None:
    trace_context.set(header)
    assert traceparent() is None
    assert json.loads(_CloudFormatter().format(record("merchdrop", "told"))) == {"severity": "ERROR", "message": "told"}


@pytest.mark.parametrize("name", ["merchdrop", "some.library"])
@pytest.mark.parametrize("formatter", [_CloudFormatter(), _TextFormatter()], ids=["json", "text"])
def test_an_errors_text_stays_out_of_the_log(name: str, formatter: logging.Formatter) -> None:
    try:
        try:
            raise KeyError(PERSONAL)
        except KeyError as error:
            raise ValueError(PERSONAL) from error
    except ValueError as error:
        line = formatter.format(record(name, "it failed", error))
    assert "it failed" in line
    assert PERSONAL not in line
    for told in ("ValueError", "KeyError", "test_logs.py", "test_an_errors_text_stays_out_of_the_log"):
        assert told in line


def test_a_library_that_writes_the_error_into_its_text_is_cut_short() -> None:
    try:
        raise ValueError(PERSONAL)
    except ValueError as error:
        entry = json.loads(_CloudFormatter().format(record("root", f"Exception on / [GET]\n{error}")))
    assert entry["message"] == "Exception on / [GET]"
    assert "ValueError" in entry["stack_trace"]
    assert PERSONAL not in json.dumps(entry)


def test_a_line_on_a_terminal_is_read_by_people() -> None:
    shown = record("merchdrop", "an order waits")
    shown.labels = {"order_id": "o-1"}
    line = _TextFormatter().format(shown)
    assert line.endswith(" error   an order waits order_id=o-1")
    assert "{" not in line


def record(name: str, text: str, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, None, exc_info)
