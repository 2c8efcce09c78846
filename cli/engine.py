"""The engine that a sale or a load test runs against: one that is there, or one that is started for it."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from local.data_dir import DataDir
from local.machine import free_port

START_SECONDS = 120  # of an engine that has to be made first
STOP_SECONDS = 30
LOOK_SECONDS = 10


@contextmanager
def engine_at(url: str | None, data_dir: Path, *, quiet: bool) -> Iterator[str]:
    """Checkout's address; an engine that had to be started is stopped afterwards."""
    directory = DataDir(data_dir)
    if url:
        _look_for_checkout(url)
        yield url
        return
    if directory.is_locked():
        yield _checkout_url(directory, {}, directory.is_locked)
        return
    if not quiet:
        click.echo(f"No engine runs in {data_dir}; starting one.")
    left = directory.stack()  # by an engine that was killed: says nothing about the new one
    command = [sys.executable, "-m", "cli", "up", "--data-dir", str(data_dir), "--port", str(free_port())]
    process = subprocess.Popen([*command, "--no-sample-drop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _checkout_url(directory, left, lambda: process.poll() is None)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # the next engine on this directory clears away what it leaves


def _look_for_checkout(url: str) -> None:
    """Fail at once where nobody answers; the crowd would go on trying for minutes."""
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/v1/health", timeout=LOOK_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        raise click.ClickException(f"{url} is no checkout: it answers {answer.code} to /v1/health") from answer
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(f"nobody answers at {url} ({error}); give the address of checkout") from error


def _checkout_url(directory: DataDir, left: dict[str, Any], is_running: Callable[[], bool]) -> str:
    """Where checkout answers, once it has started."""
    deadline = time.monotonic() + START_SECONDS
    while (stack := directory.stack()) == left or not any(_is_checkout(name) for name in stack.get("pids", {})):
        if not is_running() or time.monotonic() > deadline:
            raise click.ClickException(
                f"no engine came up; `merchdrop up --data-dir {directory.path}` tells why, or name another --data-dir"
            )
        time.sleep(0.2)
    return str(stack["checkout_url"])


def _is_checkout(name: str) -> bool:
    return name == "checkout" or name.startswith("checkout-")  # one of several instances
