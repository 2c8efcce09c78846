"""The run as one HTML file: faults above, and below what they did to the engine, second by second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

from loadtest.gameday.saboteur import Done
from loadtest.gameday.schedule import SCHEDULER, Fault
from loadtest.gameday.timeline import Series

WIDTH, LEFT, RIGHT = 1100, 200, 20
LANE, PANEL, GAP = 20, 90, 26
COLOURS = {"kill": "#c0392b", "crash": "#c0392b", "cut": "#d35400", "away": "#7f8c8d", "stripe": "#6c5ce7"}
LANES = ("killed, cut off", "a part is down", "nobody calls reconcile", "the provider misbehaves")
MOMENT_SECONDS = 0.4  # how wide a fault without a length is drawn

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 14px system-ui, sans-serif; margin: 24px auto; max-width: ${width}px; color: #222; }
h1 { font-size: 20px; } .bad { color: #c0392b; } .good { color: #1e8449; }
code { background: #f2f2f2; padding: 1px 4px; }
svg text { font: 11px system-ui, sans-serif; fill: #444; } svg .title { font-size: 12px; fill: #222; }
td, th { text-align: left; padding: 2px 16px 2px 0; vertical-align: top; } table { border-collapse: collapse; }
#told { font: 12px ui-monospace, monospace; height: 2.5em; color: #444; }
</style></head><body>
<h1>$title</h1><p class="$mood">$verdict</p><p>Repeat it: <code>$command</code></p>
<div id="told">Move over the chart to read a second.</div>
$chart
<h2>Findings</h2>$findings
<h2>Figures</h2>$figures
<h2>Faults</h2>$faults
<script>
const run = $data, svg = document.querySelector("svg"), line = document.getElementById("now");
svg.addEventListener("mousemove", event => {
  const box = svg.getBoundingClientRect();
  const x = (event.clientX - box.left) * $width / box.width;
  const second = Math.floor((x - $left) / ($width - $left - $right) * run.length);
  if (second < 0 || second >= run.length) return;
  line.setAttribute("x1", x); line.setAttribute("x2", x);
  const values = run.series.map(one => one.title + ": " + one.values[second]);
  const faults = run.faults.filter(f => f.began < second + 1 && f.ended >= second).map(f => f.kind + " " + f.target);
  document.getElementById("told").textContent = second + " s · " + [...values, ...faults].join(" · ");
});
</script></body></html>
""")


def render(verdict: dict[str, Any], series: Sequence[Series], faults: Sequence[Done]) -> str:
    """A page that needs nothing beside itself."""
    length = len(series[0].values)
    data = {
        "length": length,
        "series": [{"title": one.title, "values": one.values} for one in series],
        "faults": [done.document() for done in faults],
    }
    findings = verdict["findings"]
    return _PAGE.substitute(
        title=f"Game day, seed {verdict['seed']}",
        mood="bad" if verdict["wrong"] else "good",
        verdict=escape("; ".join(verdict["wrong"]) or "Clean: every promise was kept."),
        command=escape(verdict["command"]),
        chart=_chart(series, faults, length, verdict["faults_stopped_seconds"]),
        findings=_table(("what", "of", "how one sees it"), [(f["kind"], f["subject"], f["text"]) for f in findings]),
        figures=_table(("", ""), [(name, json.dumps(value)) for name, value in verdict["figures"].items()]),
        faults=_table(
            ("from", "to", "fault", "", ""),
            [(f"{d.began:.1f} s", f"{d.ended:.1f} s", d.fault.kind, _target(d), d.note) for d in _in_order(faults)],
        ),
        # inside a script element, no text may end it
        data=json.dumps(data).replace("<", "\\u003c"),
        width=WIDTH,
        left=LEFT,
        right=RIGHT,
    )


def _chart(series: Sequence[Series], faults: Sequence[Done], length: int, stopped: float) -> str:
    def x(second: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(second, 0), length) / length, 1)

    top = len(LANES) * LANE + GAP
    height = top + len(series) * (PANEL + GAP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" role="img" aria-label="Timeline">']
    parts += [f'<text x="0" y="{number * LANE + 14}" class="title">{lane}</text>' for number, lane in enumerate(LANES)]
    for done in faults:
        number = _lane(done.fault)
        left, right = x(done.began), x(max(done.ended, done.began + MOMENT_SECONDS))
        box = f'x="{left}" width="{right - left:.1f}" fill="{COLOURS[done.fault.kind]}"'
        title = f"<title>{escape(f'{done.began:.1f} s: {done.fault.kind} {_target(done)}')}</title>"
        parts.append(f'<rect {box} y="{number * LANE + 3}" height="{LANE - 6}" rx="2">{title}</rect>')
        parts.append(f'<rect {box} y="{top}" height="{height - top - GAP}" opacity="0.07"></rect>')
    for number, one in enumerate(series):
        parts += _panel(one, top + number * (PANEL + GAP), x)
    parts += [
        f'<text x="{x(second)}" y="{height - 6}" text-anchor="middle">{second} s</text>'
        for second in range(0, length + 1, max(1, length // 12))
    ]
    parts.append(f'<line x1="{x(stopped)}" x2="{x(stopped)}" y1="0" y2="{height - GAP}" stroke="#1e8449"')
    parts.append('stroke-dasharray="4 3"><title>the faults have stopped</title></line>')
    parts.append(f'<line id="now" x1="-1" x2="-1" y1="0" y2="{height - GAP}" stroke="#222"></line></svg>')
    return "\n".join(parts)


def _lane(fault: Fault) -> int:
    if fault.kind == "away":
        return 2 if fault.target == SCHEDULER else 1
    return 3 if fault.kind == "stripe" else 0


def _panel(one: Series, top: int, x: Any) -> list[str]:
    highest = max(*one.values, 1.0)
    points = [(x(second + 0.5), top + PANEL - PANEL * value / highest) for second, value in enumerate(one.values)]
    line = " ".join(f"{across},{down:.1f}" for across, down in points)
    return [
        f'<text x="0" y="{top + 14}" class="title">{escape(one.title)}</text>',
        f'<text x="0" y="{top + 30}">up to {highest:g} {one.unit}</text>',
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top + PANEL}" y2="{top + PANEL}" stroke="#bbb"></line>',
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.5"></polyline>',
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "<p>None.</p>"
    lines = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><tr>{top}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _in_order(faults: Sequence[Done]) -> list[Done]:
    return sorted(faults, key=lambda done: done.began)


def _target(done: Done) -> str:
    return f"{done.fault.target} {json.dumps(done.fault.shares)}" if done.fault.shares else done.fault.target
