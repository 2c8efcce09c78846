"""The engine sells out under a crowd, with several instances and a queue that repeats, delays and reorders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import free_port

READY_SECONDS = 90
SALE_SECONDS = 240
MERCHDROP = str(Path(sys.executable).parent / "merchdrop")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running engine with two instances and a bad queue."""
    directory = tmp_path_factory.mktemp("engine")
    command = [MERCHDROP, "up", "--port", str(free_port()), "--data-dir", str(directory), "--instances", "2"]
    command += ["--pubsub-faults", "seed=7,duplicate=0.3,delay=1,reorder=0.3,drop_ack=0.1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MERCHDROP_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        deadline = time.monotonic() + READY_SECONDS
        for line in process.stdout:
            if line.startswith("ready") or time.monotonic() > deadline:
                break
        yield directory
        process.send_signal(signal.SIGTERM)
        process.stdout.read()


@pytest.mark.parametrize(
    "options",
    [
        ["--buyers", "3000", "--units", "200", "--duplicates", "0.5"],
        ["--buyers", "2000", "--units", "200", "--skus", "4", "--max-quantity", "3", "--seed", "2"],
    ],
)
def test_a_sale_is_clean(data_dir: Path, options: list[str]) -> None:
    verdict = merchdrop(data_dir, "sale", *options)
    assert verdict["wrong"] == []
    assert (verdict["sold"], verdict["audit_violations"]) == (200, 0)
    assert verdict["accepted"] == verdict["final"] >= 66
    assert verdict["duplicates_sent"] > 0
    assert merchdrop(data_dir, "audit") == {"violations": [], "late": []}


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


def refused(data_dir: Path, *arguments: str) -> str:
    """Run a command that must fail; its error."""
    done = subprocess.run([MERCHDROP, *arguments, "--data-dir", str(data_dir)], capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr
