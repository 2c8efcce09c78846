"""A `merchdrop up` of a test's own, and what one can see of it from outside."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from local.database import SAMPLE_ORDER
from local.machine import free_port
from local.recipes import ROOT

T = TypeVar("T")

UP_SECONDS = 90.0
BACK_SECONDS = 30.0
ANSWER_SECONDS = 5.0  # above any `wait` that a test asks for
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
RECONCILE_EVERY_SECONDS = 3.0
RECONCILE_SECONDS = 60.0  # its own bound


class Engine:
    """A `merchdrop up` of the test's own, and what one can see of it from outside."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.output = data_dir.with_name(f"up-{self.port}.log")
        command = [sys.executable, "-m", "cli", "up", "--port", str(self.port)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(data_dir), *options], stdout=output, stderr=output, cwd=ROOT
            )

    def wait_until_ready(self) -> None:
        """Wait for the line that says so; it names checkout's address."""

        def ready_lines() -> list[str]:
            assert self.process.poll() is None, self.output.read_text()
            return [line for line in self.output.read_text().splitlines() if line.startswith("ready")]

        (line,) = eventually(ready_lines, UP_SECONDS)
        assert f"http://127.0.0.1:{self.port}" in line

    def stack(self) -> dict[str, Any]:
        return dict(json.loads((self.data_dir / "stack.json").read_text()))

    def pid(self, name: str) -> int:
        """A part's process; 0 while there is none."""
        return int(self.stack()["pids"].get(name, 0))

    def wait_for_another(self, name: str, old: int) -> int:
        """The process that took the place of `old`."""
        return eventually(lambda: pid if (pid := self.pid(name)) != old else 0)

    def call(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """Call checkout, once it answers."""

        def answer() -> dict[str, Any]:
            request = urllib.request.Request(
                f"{self.stack()['checkout_url']}{path}",
                None if body is None else json.dumps(body).encode(),
                {"Content-Type": "application/json", **headers},
            )
            with suppress(OSError), urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
                return dict(json.load(response))
            return {}

        return eventually(answer)

    def order(self, key: str, seconds: float = BACK_SECONDS) -> dict[str, Any]:
        """Order a shirt, pay for it, and follow the order until it is confirmed; empty if that takes longer."""
        body = {**SAMPLE_ORDER, "customer": {"id": key}}
        path = self.call("/v1/checkout", body, **{"Idempotency-Key": key})["status_url"]
        deadline = time.monotonic() + seconds
        while (order := self.call(f"{path}?wait=1"))["status"] != "confirmed":
            if time.monotonic() > deadline:
                return {}
        return order

    def local(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `merchdrop local …` against it."""
        command = [sys.executable, "-m", "cli", "local", *arguments]
        return subprocess.run(
            [*command, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            timeout=BACK_SECONDS,
            cwd=ROOT,
        )

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def stop(self) -> int:
        """Stop it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def reconciled_often(data_dir: Path) -> Iterator[None]:
    """Call an engine's reconcile as a scheduler would whose minutes are short, so that a test waits less for it."""
    over = threading.Event()

    def call_again_and_again() -> None:
        while not over.wait(RECONCILE_EVERY_SECONDS):
            with suppress(OSError, ValueError, KeyError):  # it may be down at the moment
                reconcile(data_dir)

    caller = threading.Thread(target=call_again_and_again)
    caller.start()
    try:
        yield
    finally:
        over.set()
        caller.join()


def reconcile(data_dir: Path) -> None:
    """Let a running engine's reconcile do its work once, as the scheduler does each minute."""
    url = json.loads((data_dir / "stack.json").read_text())["reconcile_url"]
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=RECONCILE_SECONDS).close()


def eventually(look: Callable[[], T], seconds: float = BACK_SECONDS) -> T:
    """What `look` sees, as soon as it sees something."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"nothing to see after {seconds} s"
        time.sleep(POLL_SECONDS)
    return seen


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
