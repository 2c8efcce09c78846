"""How each part is run here: its command, its settings, and how one knows that it is ready."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from local import google_pubsub
from local.data_dir import DataDir
from local.database import DATABASE, login_of
from local.machine import HOST, LocalError, processes_in
from local.parts import Part
from local.postgres import Postgres
from local.terminal import Terminal
from local.topology import ensure_topology

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "merchdrop-local"
FUNCTIONS = ("checkout", "process_order", "charge_order", "reconcile")
PROBE_SECONDS = 2.0
# Read by functions-framework itself; one left in somebody's shell would change how the functions are served.
FRAMEWORK_VARIABLES = (
    "DEBUG",
    "FUNCTION_SIGNATURE_TYPE",
    "FUNCTION_SOURCE",
    "FUNCTION_TARGET",
    "FUNCTION_USE_ASGI",
)
# They name a database elsewhere, for the operator's commands; here they would contradict the engine's own.
ELSEWHERE_VARIABLES = ("MERCHDROP_CLOUD_SQL_INSTANCE", "MERCHDROP_DATABASE_USER")


@dataclass(frozen=True)
class Recipes:
    """Everything a part's recipe depends on; makes the parts."""

    data_dir: DataDir
    terminal: Terminal
    changed: Callable[[], None]
    postgres: Postgres
    ports: dict[str, int]
    instances: int
    pubsub: str
    pubsub_faults: str | None
    stripe_faults: str | None

    def url(self, name: str) -> str:
        """Where a function, or the stand-in for Stripe, answers."""
        return f"http://{HOST}:{self.ports[name]}"

    @property
    def pubsub_host(self) -> str:
        return f"{HOST}:{self.ports['pubsub']}"

    def logins(self) -> dict[str, str]:
        """Each function's database password, by the function's name."""
        return {function: self.data_dir.secret(login_of(function), 16) for function in FUNCTIONS}

    def postgres_part(self) -> Part:
        """The database. Its processes leave their parent's group, so they are found by where they work."""

        async def is_ready() -> bool:
            return self.postgres.is_ready()

        return self._part(
            "postgres",
            self.postgres.command(),
            is_ready=is_ready,
            prepare=self.postgres.clear_leftovers,
            strays=lambda: processes_in(self.postgres.directory),
            options=self.postgres.process_options(),
            stop_signal=signal.SIGINT,
        )

    def pubsub_part(self) -> Part:
        """The queue; each new life gets its topics and subscriptions before it counts as ready."""
        if self.pubsub == "google":
            try:
                command = google_pubsub.command(self.ports["pubsub"])
            except google_pubsub.EmulatorMissing as error:
                raise LocalError(str(error)) from error
        else:
            command = [sys.executable, "-m", "local.pubsub", "--port", str(self.ports["pubsub"])]
            command += ["--journal", str(self.data_dir.pubsub_journal)]
            command += ["--faults", self.pubsub_faults] if self.pubsub_faults else []

        async def after_start() -> None:
            endpoints = {"process-order": self.url("process_order"), "charge-order": self.url("charge_order")}
            await asyncio.to_thread(ensure_topology, self.pubsub_host, PROJECT, endpoints)

        return self._part("pubsub", command, is_ready=lambda: _listens(self.ports["pubsub"]), after_start=after_start)

    def stripe_part(self) -> Part:
        """The stand-in for Stripe; what it remembers outlives it, as at Stripe."""
        command = [sys.executable, "-m", "local.stripe", "--port", str(self.ports["stripe"])]
        command += ["--journal", str(self.data_dir.stripe_journal)]
        command += ["--webhook-url", f"{self.url('checkout')}/v1/webhooks/stripe"]
        command += ["--webhook-secret", self.data_dir.stripe_webhook_secret]
        command += ["--faults", self.stripe_faults] if self.stripe_faults else []
        return self._part("stripe", command, is_ready=lambda: _listens(self.ports["stripe"]))

    def function_part(self, name: str) -> Part:
        """A function under functions-framework, exactly as deployed, with the rights of its own login."""
        # gunicorn puts a control socket there; without a directory of its own it would take the user's.
        sockets = self.data_dir.path / "run" / name
        sockets.mkdir(parents=True, exist_ok=True)
        environment = {
            "MERCHDROP_DATABASE_URL": self.postgres.url(DATABASE, login_of(name), self.logins()[name]),
            "MERCHDROP_PROJECT": PROJECT,
            "MERCHDROP_ORDER_ID_SECRETS": json.dumps({"1": self.data_dir.secret("order_id_1")}),
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "MERCHDROP_PAYMENT_PROVIDER": "stripe",
            **self._stripe_settings(name),
            "WORKERS": str(self.instances),
            "XDG_RUNTIME_DIR": str(sockets),
        }
        command = [sys.executable, "-m", "functions_framework", "--target", name]
        command += ["--source", str(ROOT / "functions" / name / "main.py")]
        command += ["--host", HOST, "--port", str(self.ports[name])]
        return self._part(
            name,
            command,
            environment=environment,
            is_ready=lambda: _answers(self.url(name)),
            workers=self.instances,
        )

    def _stripe_settings(self, function: str) -> dict[str, str]:
        """Who takes webhooks has no use for the key, and who charges none for the webhooks' secret."""
        if function == "checkout":
            return {
                "MERCHDROP_STRIPE_WEBHOOK_SECRET": self.data_dir.stripe_webhook_secret,
                "MERCHDROP_STRIPE_API_BASE": self.url("stripe"),
            }
        if function in ("charge_order", "reconcile"):
            return {
                "MERCHDROP_STRIPE_API_KEY": self.data_dir.stripe_api_key,
                "MERCHDROP_STRIPE_API_BASE": self.url("stripe"),
            }
        return {}

    def _part(
        self,
        name: str,
        command: list[str],
        *,
        is_ready: Callable[[], Awaitable[bool]],
        environment: dict[str, str] | None = None,
        **details: Any,
    ) -> Part:
        unwanted = {*FRAMEWORK_VARIABLES, *ELSEWHERE_VARIABLES}
        inherited = {key: value for key, value in os.environ.items() if key not in unwanted}
        common = {
            "MERCHDROP_LOG_FORMAT": self.terminal.log_format,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        return Part(
            name,
            command,
            {**inherited, **common, **(environment or {})},
            self.terminal.pipe(name),
            is_ready=is_ready,
            is_stopped=lambda: self.data_dir.is_stopped(name),
            report=lambda text: self.terminal.report("engine", text),
            changed=self.changed,
            **details,
        )


async def _listens(port: int) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(HOST, port)
        writer.close()
        return True
    return False


async def _answers(url: str) -> bool:
    """Whether a worker serves there: it answers this path itself (with 404), and leaves the function alone."""
    with suppress(aiohttp.ClientError, TimeoutError):
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS)) as session,
            session.get(f"{url}/robots.txt"),
        ):
            return True
    return False
