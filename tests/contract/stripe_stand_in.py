"""Run the Stripe stand-in in a process of its own, and ask it as the engine does: with Stripe's own SDK."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import uuid4

import requests
import stripe

from local.machine import HOST, free_port

T = TypeVar("T")

WAIT_SECONDS = 40.0  # for anything
POLL_SECONDS = 0.02
CALL_SECONDS = 30.0
KEY = "sk_test_tests"
WEBHOOK_SECRET = "whsec_tests"  # noqa: S105 - it guards nothing
NO_LIMITS = ("--endpoint-rate", "0", "--total-rate", "0")

stripe.enable_telemetry = False


class StandIn:
    """One that runs: the SDK's client for it, raw HTTP, and its controls."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self._process = port, process
        self._sessions: list[requests.Session] = []
        self.client = self.connect()
        self.payment_intents, self.refunds = self.client.v1.payment_intents, self.client.v1.refunds

    def connect(self, key: str = KEY, seconds: float = CALL_SECONDS) -> stripe.StripeClient:
        """A client that doesn't try again by itself."""
        session = requests.Session()
        self._sessions.append(session)
        return stripe.StripeClient(
            key,
            base_addresses={"api": f"http://{HOST}:{self.port}"},
            http_client=stripe.RequestsClient(timeout=seconds, session=session),
            max_network_retries=0,
        )

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @contextmanager
    def away(self) -> Iterator[None]:
        """For as long as the block lasts it takes connections and says nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self._process.terminate()
        return self._process.wait(WAIT_SECONDS)

    def pay(self, method: str = "pm_card_visa", key: str | None = None, **params: Any) -> stripe.PaymentIntent:
        """A payment by card, confirmed at once."""
        return self.create(key, payment_method=method, confirm=True, **params)

    def create(self, key: str | None = None, **params: Any) -> stripe.PaymentIntent:
        """A payment by card of 3500 cents, if nothing else is asked for."""
        given: Any = {"amount": 3500, "currency": "usd", "payment_method_types": ["card"], **params}
        return self.payment_intents.create(given, {"idempotency_key": key or uuid4().hex})

    def raw(
        self, method: str, path: str, params: Mapping[str, str] | str | bytes = "", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers (names in lower case) and JSON body of a request that the SDK would not make."""
        sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(HOST, self.port, timeout=CALL_SECONDS)
        try:
            body = urlencode(params) if isinstance(params, Mapping) else params
            connection.request(method, path, body or None, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)
        finally:
            connection.close()

    def control(self, path: str, content: Any = None) -> Any:
        """What a control call answers; with content it is a POST."""
        method = "GET" if content is None else "POST"
        body = "" if content is None else json.dumps(content)
        status, _, answer = self.raw(method, f"/_control/{path}", body, Content_Type="application/json")
        assert status == 200, answer
        return answer

    def authenticate(self, identity: str, outcome: str) -> Any:
        return self.control(f"payment_intents/{identity}/authenticate", {"outcome": outcome})

    def movements(self, payment_intent: str | None = None) -> list[dict[str, Any]]:
        """Every movement of money, or those of one payment."""
        found = self.control("movements")
        return [movement for movement in found if payment_intent in (None, movement["payment_intent"])]


@contextmanager
def running(*options: str, port: int | None = None) -> Iterator[StandIn]:
    """A stand-in that answers, killed in the end."""
    port = port or free_port()
    command = [sys.executable, "-m", "local.stripe", "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stand_in = StandIn(port, process)
    try:
        eventually(lambda: _is_up(stand_in))
        yield stand_in
    finally:
        stand_in.kill()
        stand_in.close()


def _is_up(stand_in: StandIn) -> bool:
    try:
        return bool(stand_in.control("health")["status"] == "ok")
    except OSError:
        return False


def eventually(look: Callable[[], T]) -> T:
    """The first true result."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (result := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(POLL_SECONDS)
    return result


def refused(call: Callable[[], object]) -> stripe.StripeError:
    """The error that a call ends with."""
    try:
        call()
    except stripe.StripeError as error:
        return error
    raise AssertionError("it was not refused")
