"""Functions and other processes as they run in the cloud, each in a process group of its own, and what they cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from local.machine import HOST, free_port, group_members
from local.recipes import FRAMEWORK_VARIABLES, ROOT

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
LOG_CHARACTERS = 2_000


class BenchError(Exception):
    """A measurement that would mean nothing; the text says why."""


@dataclass(frozen=True)
class Server:
    """A server process, where it listens, and its process group."""

    port: int
    group: int
    log: Path

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return cpu_seconds(group_members(self.group))

    def last_words(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-LOG_CHARACTERS:] or "(nothing)"

    def rss_bytes(self) -> int:
        """Memory of its largest worker; the master that only watches doesn't count."""
        members = group_members(self.group)
        return max(member.memory_info().rss for member in members if member.pid != self.group)


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Processor time of these processes so far, in user and system."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


@contextmanager
def process(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, ended with the block."""
    inherited = {name: value for name, value in os.environ.items() if name not in FRAMEWORK_VARIABLES}
    variables = {**inherited, "PYTHONPATH": str(ROOT), **environment}
    with log.open("ab") as output:
        started = subprocess.Popen(command, stdout=output, stderr=output, env=variables, start_new_session=True)
    try:
        yield started
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@contextmanager
def function(source: Path, directory: Path, environment: Mapping[str, str], workers: int = 1) -> Iterator[Server]:
    """The function that bears its source's (or its folder's) name, under functions-framework.

    It may need a moment more to answer: see `wait_until_answered`.
    """
    name = source.parent.name if source.name == "main.py" else source.stem
    port = free_port()
    command = [str(Path(sys.executable).parent / "functions-framework"), "--target", name]
    command += ["--source", str(source), "--host", HOST, "--port", str(port)]
    # gunicorn puts a control socket there; without a directory of its own it would take the user's.
    own = directory / f"{name}-{port}"
    own.mkdir()
    variables = {"WORKERS": str(workers), "XDG_RUNTIME_DIR": str(own), "MERCHDROP_LOG_FORMAT": "json", **environment}
    with process(command, own / "log", variables) as started:
        yield Server(port, started.pid, own / "log")


def wait_until_answered(*servers: Server) -> None:
    """Wait until each answers a path that functions-framework answers itself."""
    deadline = time.monotonic() + READY_SECONDS
    for server in servers:
        while True:
            try:
                urllib.request.urlopen(f"http://{HOST}:{server.port}/robots.txt", timeout=READY_SECONDS)
            except urllib.error.HTTPError as answer:
                answer.close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    said = server.last_words()
                    raise BenchError(f"no server came up in {READY_SECONDS:.0f} s; it said:\n{said}") from None
                time.sleep(POLL_SECONDS)
