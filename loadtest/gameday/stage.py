"""The engine of a game day: a real `merchdrop up` with several instances, in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from loadtest.gameday.buyers import Plan
from local.data_dir import DataDir
from local.machine import LocalError, free_port
from local.recipes import ROOT

START_SECONDS = 120.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1
MERCHDROP = ("cli",)  # the module that is run, and its first arguments
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Stage:
    """A running engine: where its parts are, and which process keeps them."""

    data_dir: DataDir
    supervisor: psutil.Process

    def stack(self) -> dict[str, Any]:
        """stack.json as it is now."""
        return self.data_dir.stack()

    def process(self, name: str) -> psutil.Process | None:
        """A part's process, if it has one, and it is this engine's: its number may mean another one by now."""
        try:
            process = psutil.Process(self.stack().get("pids", {})[name])
            return process if self.supervisor in process.parents() else None
        except (KeyError, psutil.NoSuchProcess):
            return None

    def put_on_sale(self, plan: Plan) -> None:
        """Make the drops, as the operator's command does."""
        with psycopg.connect(self.stack()["database_url"], connect_timeout=CONNECT_SECONDS) as connection:
            for drop_id, sale in plan.sales.items():
                items = [
                    {"sku": sku, "stock": stock, "unit_price_minor": sale.prices[sku]}
                    for sku, stock in sale.stock.items()
                ]
                wanted = {"id": drop_id, "currency": sale.currency, "hold_seconds": plan.hold_seconds, "items": items}
                limit = plan.limits.get(drop_id)
                connection.execute("SELECT create_drop(%s)", [json.dumps({**wanted, "per_customer_limit": limit})])


@contextmanager
def engine(
    directory: Path, log: Path, instances: int, pubsub_faults: str, program: Sequence[str] = MERCHDROP
) -> Iterator[Stage]:
    """An engine for as long as the block lasts; everything that it says goes to `log`.

    Raises:
        LocalError: it does not come up.
    """
    data_dir = DataDir(directory / "data")
    command = [sys.executable, "-m", *program, "up", "--port", str(free_port()), "--data-dir", str(data_dir.path)]
    command += ["--no-sample-drop", "--instances", str(instances), "--pubsub-faults", pubsub_faults]
    inherited = {name: value for name, value in os.environ.items() if name != "MERCHDROP_DATABASE_URL"}
    environment = {**inherited, "MERCHDROP_LOG_FORMAT": "json"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environment)
    try:
        _wait_until_ready(process, log)
        yield Stage(data_dir, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for part in psutil.Process(process.pid).children(recursive=True):
                part.kill()
            process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not any(line.startswith("ready") for line in log.read_text().splitlines()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LocalError(f"no engine came up; {log} says why")
        time.sleep(POLL_SECONDS)
