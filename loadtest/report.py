"""What the bench found: one row for each figure, as JSON for programs and as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.rounds import Spread

WHAT_WIDTH = 44  # characters; the longest is not much longer


@dataclass(frozen=True)
class Target:
    """What a figure has to reach."""

    bound: float
    at_least: bool = True

    def is_met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    """One figure: ours beside theirs, and the ratio of ours to theirs; or a number of its own."""

    figure: str
    what: str
    unit: str
    ours: Spread
    versus: str = ""
    theirs: Spread | None = None
    ratio: Spread | None = None
    target: Target | None = None

    @property
    def verdict(self) -> str:
        """Whether its target is met: by the median of the ratio, or of the number where there is no ratio."""
        if self.target is None:
            return ""
        return "met" if self.target.is_met((self.ratio or self.ours).median) else "missed"

    def document(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass
class Findings:
    """What one figure's measuring found: rows, and what else is worth saying."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def compare(
    figure: str,
    what: str,
    unit: str,
    ours: Sequence[float],
    versus: str,
    theirs: Sequence[float],
    at_least: float | None = None,
) -> Row:
    """A row of ours against theirs, the same rounds of both; `at_least` is what the ratio has to reach."""
    target = None if at_least is None else Target(at_least)
    ratio = Spread.of_ratio(ours, theirs)
    return Row(figure, what, unit, Spread.of(ours), versus, Spread.of(theirs), ratio, target)


def print_report(console: Console, findings: Findings, title: str) -> None:
    """A table for people, and below it what else was found."""
    table = Table(title=title, title_justify="left")
    for column, width in (("figure", None), ("what", WHAT_WIDTH), ("unit", None)):
        table.add_column(column, overflow="fold", min_width=width)
    for column in ("ours", "versus", "theirs", "ratio (low to high)", "target", ""):
        table.add_column(column, justify="left" if column == "versus" else "right", overflow="fold")
    figure = ""
    for row in findings.rows:
        if figure not in ("", row.figure):
            table.add_section()
        ratio = f"{row.ratio.median:.3g} ({row.ratio.low:.3g} to {row.ratio.high:.3g})" if row.ratio else ""
        style = {"met": "green", "missed": "red"}.get(row.verdict)
        name = "" if row.figure == figure else row.figure
        figure = row.figure
        ours, theirs = _number(row.ours), _number(row.theirs) if row.theirs else ""
        target = str(row.target) if row.target else ""
        table.add_row(name, row.what, row.unit, ours, row.versus, theirs, ratio, target, row.verdict, style=style)
    console.print(table)
    for note in findings.notes:
        console.print(f"- {note}")
    for failure in findings.failed:
        console.print(failure, style="red")


def _number(spread: Spread) -> str:
    value = spread.median
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
