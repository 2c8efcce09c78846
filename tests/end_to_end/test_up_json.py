"""`merchdrop up` for programs: every line is a JSON document, and what is in the way is told without a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from local.machine import free_port
from tests.serving import ROOT

UP_SECONDS = 90.0
STOP_SECONDS = 20.0
COMMAND = [sys.executable, "-m", "cli", "up", "--no-sample-drop", "--json"]


def test_every_line_is_a_document_and_one_says_that_it_is_ready(tmp_path: Path) -> None:
    port = free_port()
    command = [*COMMAND, "--port", str(port), "--data-dir", str(tmp_path)]
    lines = []
    # as an operator's shell may have it
    elsewhere = {
        "MERCHDROP_CLOUD_SQL_INSTANCE": "demo:europe-west1:merchdrop",
        "MERCHDROP_DATABASE_USER": "me@demo.iam",
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **elsewhere}
    ) as process:
        assert process.stdout
        deadline = time.monotonic() + UP_SECONDS
        try:
            for line in process.stdout:
                lines.append(json.loads(line))
                if "ready" in lines[-1]:
                    break
                assert time.monotonic() < deadline, lines
            stack = json.loads((tmp_path / "stack.json").read_text())
            with urllib.request.urlopen(f"{stack['checkout_url']}/v1/health", timeout=UP_SECONDS) as answer:
                assert answer.status == 200  # by its own database
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stdout.read()
        assert process.wait(STOP_SECONDS) == 0
    stack.pop("pids")
    assert lines[-1] == {"ready": True, **stack}
    assert stack["checkout_url"] == f"http://127.0.0.1:{port}"
    assert [entry for entry in map(json.loads, rest.splitlines()) if entry["message"] == "stopping"]


def refused(*arguments: str) -> str:
    """What an engine says that can't start."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=UP_SECONDS, cwd=ROOT)
    assert done.returncode == 1
    assert all(json.loads(line) for line in done.stdout.splitlines())
    assert done.stderr.startswith("Error: ")
    return done.stderr


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = refused("--data-dir", str(tmp_path / "file" / "data"), "--port", str(free_port()))
    assert f"{tmp_path / 'file' / 'data'}: Not a directory" in told


def test_data_whose_secrets_were_lost_is_told_to_be(tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path), "--port", str(free_port()))
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        while '"ready"' not in (line := process.stdout.readline()):
            assert line, "the engine ended before it was ready"
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    (tmp_path / "secrets.json").unlink()
    assert "secrets.json and postgres/ in the data directory belong together" in refused(*options)
