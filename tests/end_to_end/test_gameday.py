"""Short game days: a real engine each, hundreds of buyers, a schedule of faults. They end clean and can be repeated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from local.recipes import ROOT

SEEDS = (1, 2, 3)
SECONDS = 420  # start, crowd, settling at its bound, and the end, on a crowded machine
OPTIONS = ["--buyers", "200", "--units", "30", "--seconds", "10"]

Run = tuple["subprocess.Popen[str]", Path]  # a game day, and where its results will be


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Run]]:
    """One game day for each seed, all at the same time, because each mostly waits for what is to happen in it."""
    with ExitStack() as stack:
        yield {seed: stack.enter_context(run(seed, tmp_path_factory.mktemp(f"seed-{seed}"))) for seed in SEEDS}


@contextmanager
def run(seed: int, results: Path) -> Iterator[Run]:
    """Start a game day; afterwards none is left, whatever came of the test."""
    command = [sys.executable, "-m", "loadtest.gameday", "--seed", str(seed), *OPTIONS, "--results", str(results)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as game_day:
        try:
            yield game_day, results
        finally:
            game_day.terminate()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_seed_is_clean(runs: dict[int, Run], seed: int) -> None:
    game_day, results = runs[seed]
    output, _ = game_day.communicate(timeout=SECONDS)
    assert game_day.returncode == 0, output
    verdict = json.loads((results / f"gameday-{seed}.json").read_text())
    assert (verdict["wrong"], verdict["findings"]) == ([], [])
    assert verdict["figures"]["buyers"] == 200
    assert verdict["figures"]["captures"] > 0
    assert verdict["figures"]["events delivered, repetitions included"] >= verdict["figures"]["events"] > 0
    assert len(verdict["faults"]) > 3
    assert f"SEED={seed}" in verdict["command"]
    assert "--buyers 200" in verdict["command"]
    answers = [json.loads(line) for line in (results / f"gameday-{seed}.answers.jsonl").read_text().splitlines()]
    assert {answer["call"] for answer in answers} >= {"checkout", "status"}
    assert "<svg" in (results / f"gameday-{seed}.html").read_text()
