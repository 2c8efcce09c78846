"""Serve a function as it is deployed: the real functions-framework command, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
START_SECONDS = 30
SECRETS = '{"1": "' + "5a" * 32 + '"}'


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serve(function: str, database_url: str, *, output: IO[bytes] | None = None, **environment: str) -> Iterator[str]:
    """Run functions/FUNCTION against a database; yields its URL. What it prints goes to `output`, if there is one."""
    source = ROOT / "functions" / function / "main.py"
    with served(source, function, database_url, output=output, **environment) as (url, _):
        yield url


@contextmanager
def served(
    source: Path,
    function: str,
    database_url: str,
    binaries: Path = Path(sys.executable).parent,
    /,
    *,
    output: IO[bytes] | None = None,
    **environment: str,
) -> Iterator[tuple[str, int]]:
    """As `serve`, with any source and environment; yields the URL, and the process group for those who kill it."""
    port = free_port()
    command = [str(binaries / "functions-framework"), "--target", function]
    command += ["--source", str(source), "--port", str(port)]
    variables = {
        "HOST": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
        "MERCHDROP_DATABASE_URL": database_url,
        "MERCHDROP_ORDER_ID_SECRETS": SECRETS,
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",  # nobody listens there, unless a test says who does
        **environment,
    }
    with subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=output,
        stderr=output and subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            _wait_until_answered(f"http://127.0.0.1:{port}/robots.txt")
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _wait_until_answered(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
