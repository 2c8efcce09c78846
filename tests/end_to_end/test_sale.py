"""The engine sells out under a crowd, with several instances, a bad queue, bad cards and a bad payment provider."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.engine import Engine, reconciled_often

SALE_SECONDS = 480  # holds that nobody pays for end, and what comes back is sold again
MERCHDROP = str(Path(sys.executable).parent / "merchdrop")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running engine with two instances and a bad queue."""
    directory = tmp_path_factory.mktemp("engine") / "data"
    faults = "seed=7,duplicate=0.3,delay=1,reorder=0.3,drop_ack=0.1"
    engine = Engine(directory, "--instances", "2", "--no-sample-drop", "--pubsub-faults", faults)
    try:
        engine.wait_until_ready()
        with reconciled_often(directory):
            yield directory
    finally:
        engine.stop()


@pytest.mark.parametrize(
    "options",
    [
        ["--duplicates", "0.5", "--challenged", "0.2", "--hold-seconds", "10"],
        ["--skus", "4", "--max-quantity", "3", "--challenged", "0", "--seed", "2"],
    ],
)
def test_a_paid_sale_is_clean(data_dir: Path, options: list[str]) -> None:
    verdict = merchdrop(data_dir, "sale", "--buyers", "2000", "--units", "100", "--declined", "0.2", *options)
    assert verdict["wrong"] == []
    assert verdict["accepted"] == verdict["final"]
    assert verdict["duplicates_sent"] > 0
    assert set(verdict["orders"]) >= {"confirmed", "declined"}
    assert verdict["captured_minor"]["provider"] == verdict["captured_minor"]["books"]
    # Who holds units now has paid for them, at 3500 each.
    paid = verdict["captured_minor"]["provider"] - verdict["refunded_minor"]["provider"]
    assert paid == 3500 * verdict["sold"] > 0
    assert faults(data_dir) == {0}
    assert merchdrop(data_dir, "audit") == {"violations": [], "late": []}


def test_a_free_sale_sells_all_and_moves_no_money(data_dir: Path) -> None:
    verdict = merchdrop(data_dir, "sale", "--buyers", "3000", "--units", "200", "--price", "0", "--seed", "3")
    assert verdict["wrong"] == []
    assert verdict["sold"] == verdict["orders"]["confirmed"] == 200
    assert verdict["accepted"] == verdict["final"]
    assert verdict["captured_minor"] == {"provider": 0, "books": 0}


def test_a_drop_is_made_shown_paused_and_closed_from_the_command(data_dir: Path) -> None:
    example = Path(__file__).parent.parent.parent / "examples" / "twenty-skus.yaml"
    created = merchdrop(data_dir, "drop", "create", "--file", str(example))
    assert (created["state"], len(created["items"])) == ("live", 20)
    assert merchdrop(data_dir, "drop", "show", "twenty-skus") == created
    restock = ("drop", "restock", "twenty-skus", "TEE-BLACK-M", "5", "--ref", "delivery-1")
    assert merchdrop(data_dir, *restock) == {"outcome": "ok", "stock": 55}
    assert merchdrop(data_dir, *restock) == {"outcome": "replayed", "stock": 55}
    for command, state in (("pause", "paused"), ("resume", "live"), ("close", "ended")):
        assert merchdrop(data_dir, "drop", command, "twenty-skus")["state"] == state
    assert "can't become live" in refused(data_dir, "drop", "open", "twenty-skus")
    assert "already" in refused(data_dir, "drop", "create", "--file", str(example))
    assert "no drop" in refused(data_dir, "drop", "show", "nope")


def merchdrop(data_dir: Path, *arguments: str) -> Any:
    """Run a command with --json; what it printed."""
    command = [MERCHDROP, *arguments, "--json", "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SALE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def faults(data_dir: Path) -> set[float]:
    """What goes wrong at the stand-in for Stripe now."""
    stripe_url = json.loads((data_dir / "stack.json").read_text())["stripe_url"]
    with urllib.request.urlopen(f"{stripe_url}/_control/faults", timeout=SALE_SECONDS) as response:
        return set(json.load(response).values())


def refused(data_dir: Path, *arguments: str) -> str:
    """Run a command that must fail; its error."""
    done = subprocess.run([MERCHDROP, *arguments, "--data-dir", str(data_dir)], capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr
