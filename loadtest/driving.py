"""Drive a server with the generator, hold it to the answers that it should give, and see what the run cost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import psutil

from loadtest.generator import CONNECT_SECONDS, DRAIN_SECONDS, write_requests
from loadtest.lab import Lab
from loadtest.serving import BenchError, Server
from local.recipes import ROOT

WARMUP_SECONDS = 0.4  # until batches have their size; pools and threads were made in the round that doesn't count
REQUESTS_PER_SECOND_MAX = 15_000  # more than an empty function answers

Meters = Mapping[str, Callable[[], float]]


@dataclass(frozen=True)
class Run:
    """One run: what was answered in how many seconds, and what it cost."""

    seconds: float
    answers: int
    answers_in_all: int  # with those of the warm-up and of the end
    p50_ms: float
    p99_ms: float
    cores: dict[str, float]  # by part: processor seconds a second

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def drive(
    lab: Lab,
    server: Server,
    requests: Iterable[bytes],
    *,
    connections: int,
    seconds: float,
    expect: int,
    warmup: float = WARMUP_SECONDS,
    meters: Meters | None = None,
) -> Run:
    """Send requests for so long, or until they run out.

    Raises:
        BenchError: an answer other than `expect`, or none: a rate of errors would mean nothing.
    """
    path = lab.directory / "requests"
    write_requests(path, requests)
    command = [sys.executable, "-m", "loadtest.generator", "--port", str(server.port), str(path)]
    command += ["--connections", str(connections), "--warmup", str(warmup), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as generator:
        assert generator.stdout
        generator.stdout.readline()
        before, began = _read(meters or {}), time.perf_counter()
        generator.stdout.readline()
        after, ended = _read(meters or {}), time.perf_counter()
        printed = generator.stdout.readline()
        generator.wait(CONNECT_SECONDS + DRAIN_SECONDS)
    if not printed:
        raise BenchError("the generator failed; what it printed above says why")
    result = json.loads(printed)
    if set(result["statuses"]) != {str(expect)}:
        raise BenchError(f"expected only {expect}, got {result['statuses']}; the server said:\n{server.last_words()}")
    cores = {name: (after[name] - before[name]) / (ended - began) for name in before}
    return Run(
        seconds=result["seconds"],
        answers=result["answers"],
        answers_in_all=result["statuses"][str(expect)],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        cores={**cores, "generator": result["cpu_seconds"] / result["seconds"]},
    )


def enough(seconds: float) -> int:
    """More requests than are answered in a run of so many seconds."""
    return int(REQUESTS_PER_SECOND_MAX * (seconds + WARMUP_SECONDS))


def _read(meters: Meters) -> dict[str, float]:
    return {"machine": busy_seconds(), **{name: meter() for name, meter in meters.items()}}


def busy_seconds() -> float:
    """Processor time that this machine has spent on anything, so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait)
