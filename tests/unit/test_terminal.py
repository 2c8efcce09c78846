"""What the parts say, line by line: as records, every line is one JSON object, whatever a part writes."""

from __future__ import annotations

import json
import os

import pytest

from local.terminal import Terminal


def printed(log_format: str, *lines: str) -> list[str]:
    """What a terminal prints of these lines of a part."""
    reading, writing = os.pipe()
    terminal = Terminal(log_format, writing)
    for line in lines:
        terminal.report("checkout", line)
    terminal.close()
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as output:
        return output.read().splitlines()


def test_a_record_keeps_its_fields_and_gets_the_name_of_its_part() -> None:
    (line,) = printed("json", '{"severity": "WARNING", "message": "späť"}')
    assert json.loads(line) == {"part": "checkout", "severity": "WARNING", "message": "späť"}


@pytest.mark.parametrize(
    "text",
    ["plain", '{"cut": "off', '{"one": 1} and more', "[1]", "null", "12", '"text"', "{}{}", "[" * 50_000, "\ufffd"],
)
def test_any_other_line_becomes_the_message_of_a_record(text: str) -> None:
    (line,) = printed("json", text)
    assert json.loads(line) == {"part": "checkout", "severity": "INFO", "message": text}


def test_a_lone_surrogate_in_a_record_does_not_end_the_printing() -> None:
    assert len(printed("json", r'{"message": "\ud800"}', "next")) == 2


def test_people_get_the_line_as_it_is_behind_the_name() -> None:
    assert printed("text", '{"message": "x"}') == ['checkout        | {"message": "x"}']
