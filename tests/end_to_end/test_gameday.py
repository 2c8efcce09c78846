"""A short game day: a real engine, a few hundred buyers, a schedule of faults. It ends clean, and can be repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from local.recipes import ROOT

SECONDS = 420  # start, crowd, settling at its bound, and the end, on a crowded machine
OPTIONS = ["--seed", "1", "--buyers", "300", "--units", "40", "--seconds", "15"]


def test_a_short_seed_is_clean(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.gameday", *OPTIONS, "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads((tmp_path / "gameday-1.json").read_text())
    assert (verdict["wrong"], verdict["findings"]) == ([], [])
    assert verdict["figures"]["buyers"] == 300
    assert verdict["figures"]["captures"] > 0
    assert verdict["figures"]["events delivered, repetitions included"] >= verdict["figures"]["events"] > 0
    assert len(verdict["faults"]) > 3
    assert "SEED=1" in verdict["command"]
    assert "--buyers 300" in verdict["command"]
    answers = [json.loads(line) for line in (tmp_path / "gameday-1.answers.jsonl").read_text().splitlines()]
    assert {answer["call"] for answer in answers} >= {"checkout", "status"}
    assert "<svg" in (tmp_path / "gameday-1.html").read_text()
