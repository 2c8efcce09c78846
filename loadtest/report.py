"""What the bench found: one row for each figure, as JSON for programs and as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.rounds import Spread

_COLUMNS = ("figure", "what", "unit", "ours", "versus", "theirs", "ratio (low to high)", "target", "")
_TEXTS = ("figure", "what", "unit", "versus")
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
    for name in _COLUMNS:
        width = WHAT_WIDTH if name == "what" else None
        table.add_column(name, justify="left" if name in _TEXTS else "right", overflow="fold", min_width=width)
    figure = ""
    for row in findings.rows:
        if figure not in ("", row.figure):
            table.add_section()
        name, *cells = _cells(row)
        style = {"met": "green", "missed": "red"}.get(row.verdict)
        table.add_row("" if name == figure else name, *cells, style=style)
        figure = row.figure
    console.print(table)
    for note in findings.notes:
        console.print(f"- {note}")
    for failure in findings.failed:
        console.print(failure, style="red")


def to_markdown(findings: Findings, title: str) -> str:
    """The same for a page of documentation."""
    lines = [title, "", f"| {' | '.join(_COLUMNS)} |", "|" + "|".join(" --- " for _ in _COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in findings.rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in findings.notes)]) + "\n"


def _cells(row: Row) -> list[str]:
    ratio = f"{row.ratio.median:.3g} ({row.ratio.low:.3g} to {row.ratio.high:.3g})" if row.ratio else ""
    ours, theirs = _number(row.ours), _number(row.theirs) if row.theirs else ""
    target = str(row.target) if row.target else ""
    return [row.figure, row.what, row.unit, ours, row.versus, theirs, ratio, target, row.verdict]


def _number(spread: Spread) -> str:
    value = spread.median
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
