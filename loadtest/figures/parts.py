"""What several figures share: the way in through a proxy or not, what the parts of a run cost, and how it is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from loadtest import baselines
from loadtest.driving import Run
from loadtest.lab import Lab, Proxy
from loadtest.serving import Server, function, wait_until_answered
from loadtest.sides import SIDES, Side

ROUND_TRIP_MS = 1.0
TIMES_EMPTY = 0.5  # what the engine has to reach of an empty function's rate
DIRECT, FAR = "", f" + {ROUND_TRIP_MS:g} ms"
EMPTY = Path(str(baselines.__file__)).with_name("empty.py")


@contextmanager
def both_sides(lab: Lab, name: str, connections: int) -> Iterator[tuple[dict[tuple[Side, str], Server], Proxy]]:
    """A function of each side, directly at the database and with a round trip added, by that proxy."""
    with ExitStack() as stack:
        far = stack.enter_context(lab.proxy(ROUND_TRIP_MS))
        ways: list[tuple[str, Proxy | None]] = [(DIRECT, None), (FAR, far)]
        servers = {
            (side, where): stack.enter_context(side.serve(lab, name, connections, proxy))
            for where, proxy in ways
            for side in SIDES
        }
        wait_until_answered(*servers.values())
        yield servers, far


@contextmanager
def empty_function(lab: Lab) -> Iterator[Server]:
    """One instance of a function that does nothing."""
    with function(EMPTY, lab.directory, {}) as server:
        wait_until_answered(server)
        yield server


def meters(lab: Lab, server: Server) -> dict[str, Callable[[], float]]:
    """What the parts of a run cost."""
    return {"function": server.cpu_seconds, "postgres": lab.postgres_cpu_seconds, "queue": lab.queue.cpu_seconds}


def longer(lab: Lab, far: Proxy) -> str:
    """How much longer a round trip through a proxy takes, as a sentence has it."""
    return f"a round trip through the proxy took {lab.ping_ms(far.port) - lab.ping_ms():.2f} ms longer than without it"


def rates(runs: list[Run]) -> list[float]:
    """What was answered a second."""
    return [run.rate for run in runs]


def middle(runs: list[Run]) -> Run:
    """The one with the median rate."""
    return sorted(runs, key=lambda run: run.rate)[len(runs) // 2]


def cores_of(run: Run) -> str:
    """What the parts used in a run, as a sentence has it."""
    times = f"p50 {run.p50_ms:.0f} ms, p99 {run.p99_ms:.0f} ms"
    cores = ", ".join(f"{name} {used:.2f}" for name, used in run.cores.items())
    return f"at {run.rate:,.0f} a second ({times}) the cores in use are {cores}"
