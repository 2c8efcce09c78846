"""Rounds alternate, ratios are taken round by round, and targets are judged by the median."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from loadtest.report import Findings, Row, Target, compare, print_report, to_markdown
from loadtest.rounds import Plan, Spread, interleave


def test_rounds_alternate_and_the_first_is_not_counted() -> None:
    called: list[str] = []

    def measure(name: str) -> Callable[[], str]:
        def once() -> str:
            called.append(name)
            return f"{name}{called.count(name)}"

        return once

    told: list[str] = []
    plan = Plan(rounds=2, seconds=1.0, soak_minutes=1.0, tell=told.append)
    measured = interleave(plan, {"ours": measure("ours"), "theirs": measure("theirs")})
    assert called == ["ours", "theirs"] * 3
    assert measured == {"ours": ["ours2", "ours3"], "theirs": ["theirs2", "theirs3"]}
    assert len(told) == 6


def test_a_ratio_is_taken_within_each_round() -> None:
    ratio = Spread.of_ratio([10.0, 400.0, 30.0], [5.0, 100.0, 10.0])
    assert ratio == Spread(median=3.0, low=2.0, high=4.0)  # a slow minute hits both sides of its round


def test_a_target_is_judged_by_the_median_of_the_ratio() -> None:
    assert compare("f", "w", "1/s", [50.0, 40.0, 90.0], "them", [10.0, 10.0, 10.0], 5.0).verdict == "met"
    assert compare("f", "w", "1/s", [49.0, 40.0, 90.0], "them", [10.0, 10.0, 10.0], 5.0).verdict == "missed"
    assert compare("f", "w", "1/s", [1.0], "them", [10.0]).verdict == ""
    assert Row("f", "w", "MB", Spread(99.0, 1.0, 300.0), target=Target(100.0, at_least=False)).verdict == "met"
    assert Row("f", "w", "MB", Spread(101.0, 1.0, 300.0), target=Target(100.0, at_least=False)).verdict == "missed"


def test_the_table_and_the_document_say_what_was_found() -> None:
    row = compare("checkout", "accepted", "1/s", [4000.0], "pg8000", [500.0], 5.0)
    console = Console(width=140, record=True, file=io.StringIO())
    print_report(console, Findings([row], ["a note"], ["batches failed: why"]), "machine")
    text = console.export_text()
    for expected in ("checkout", "accepted", "4,000", "pg8000", "500", "8 (8 to 8)", "≥ 5", "met", "- a note", "why"):
        assert expected in text
    markdown = to_markdown(Findings([row], ["a note"]), "machine")
    assert "| checkout | accepted | 1/s | 4,000 | pg8000 | 500 | 8 (8 to 8) | ≥ 5 | met |\n\n- a note\n" in markdown
    assert row.document()["target"] == {"bound": 5.0, "at_least": True}
    assert row.document()["ratio"] == {"median": 8.0, "low": 8.0, "high": 8.0}
