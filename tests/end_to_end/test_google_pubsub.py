"""The engine on Google's own emulator: a crowd sells a drop out, and what the emulator forgets is published again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local import google_pubsub
from local.database import SAMPLE_ORDER
from local.machine import free_port
from local.recipes import ROOT
from tests.end_to_end.engine import Engine, eventually, reconciled_often

SALE_SECONDS = 240
AGAIN_SECONDS = 120.0  # reconcile publishes again what has waited for half a minute


def google_command(port: int) -> list[str]:
    try:
        return google_pubsub.command(port)
    except google_pubsub.EmulatorMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    google_command(1)
    engine = Engine(tmp_path_factory.mktemp("google") / "data", "--pubsub", "google")
    try:
        engine.wait_until_ready()
        with reconciled_often(engine.data_dir):
            yield engine
    finally:
        engine.stop()


def test_a_sale_is_clean(engine: Engine) -> None:
    command = [sys.executable, "-m", "cli", "sale", "--data-dir", str(engine.data_dir), "--json"]
    done = subprocess.run(
        [*command, "--buyers", "2000", "--units", "200"], capture_output=True, text=True, timeout=SALE_SECONDS, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["wrong"] == []
    assert verdict["accepted"] == verdict["final"] >= 200


def test_orders_that_a_killed_emulator_forgot_are_published_again(engine: Engine) -> None:
    assert engine.local("stop", "process_order").returncode == 0
    path = engine.call("/v1/checkout", SAMPLE_ORDER, **{"Idempotency-Key": "forgotten"})["status_url"]
    old = engine.pid("pubsub")
    psutil.Process(old).kill()
    engine.wait_for_another("pubsub", old)
    assert engine.local("start", "process_order").returncode == 0
    eventually(lambda: engine.call(path)["status"] == "confirmed", AGAIN_SECONDS)


def test_without_java_nothing_is_started_and_the_reason_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "cli", "up", "--pubsub", "google", "--data-dir", str(data)]
    done = subprocess.run(
        [*command, "--port", str(free_port())],
        capture_output=True,
        text=True,
        timeout=SALE_SECONDS,
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "Google's Pub/Sub emulator needs Java; install a JRE, or use --pubsub embedded" in done.stderr
    assert not (data / "postgres").exists()
