"""k6's flash sale against an engine of its own, and the verdict on what it and the books say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.verdict import Booked
from loadtest.flash_sale import judge
from local.recipes import ROOT

RUN_SECONDS = 240


def test_a_flash_sale_sells_out_and_ends_clean(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.flash_sale", "--json", "--data-dir", str(tmp_path / "data")]
    command += ["--rate", "40", "--seconds", "4", "--late-seconds", "2", "--units", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, cwd=ROOT)
    # How fast it was is no matter of a test: a crowded machine may cross k6's thresholds.
    verdict = json.loads(done.stdout)
    assert [sentence for sentence in verdict["wrong"] if "threshold" not in sentence] == []
    assert (verdict["units"], verdict["sold"], verdict["confirmed"]) == (60, 60, 60)
    assert verdict["refused"] > 0


def metrics(accepted: int, refused: int = 0) -> dict[str, Any]:
    counts = {"orders_accepted": accepted, "orders_confirmed": accepted, "orders_refused": refused}
    return {
        **{name: {"values": {"count": count}} for name, count in counts.items()},
        "http_req_duration{name:checkout}": {"values": {"p(99)": 5.0}},
    }


def booked(*statuses: str, units: int = 2, sold: int = 2, violations: int = 0) -> Booked:
    return Booked(units, sold, [{"status": status} for status in statuses], violations)


def test_a_clean_sale_is_clean() -> None:
    assert judge(metrics(2, refused=1), booked("confirmed", "confirmed"), False)["wrong"] == []


@pytest.mark.parametrize(
    ("told", "books", "crossed", "word"),
    [
        (metrics(2), booked("confirmed", "confirmed"), True, "threshold"),
        (metrics(3), booked("confirmed", "confirmed", "confirmed", sold=3), False, "3 of 2 units"),
        (metrics(1, refused=1), booked("confirmed", sold=1), False, "1 units are left"),
        (metrics(2), booked("confirmed", "accepted"), False, "1 accepted orders are not final"),
        (metrics(3), booked("confirmed", "confirmed"), False, "3 buyers were told 202"),
        (metrics(2), booked("confirmed", "confirmed", violations=1), False, "audit found 1"),
    ],
)
def test_every_broken_promise_is_found(told: dict[str, Any], books: Booked, crossed: bool, word: str) -> None:
    assert [sentence for sentence in judge(told, books, crossed)["wrong"] if word in sentence]
