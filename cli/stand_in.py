"""What a sale does with the stand-in for Stripe behind its API's back: make faults, and read its list of movements."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from local.stripe_faults import Faults

LOOK_SECONDS = 30.0  # its whole list, on a busy machine


@contextmanager
def faults_in_force(stripe_url: str, faults: Faults) -> Iterator[None]:
    """Let these go wrong, in place of whatever was in force; and nothing any more afterwards, whatever happens."""
    _call(stripe_url, "faults", faults.to_json())
    try:
        yield
    finally:
        with suppress(click.ClickException):  # who isn't there makes no faults, nor will when it comes back
            _call(stripe_url, "faults", {})


def movements(stripe_url: str) -> list[dict[str, Any]]:
    """Every movement of money that was ever made: `kind` (capture or refund), `amount`, `currency`, `metadata`."""
    found: list[dict[str, Any]] = _call(stripe_url, "movements")
    return found


def _call(stripe_url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{stripe_url}/_control/{path}", content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=LOOK_SECONDS) as response:
            return json.load(response)
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"the stand-in for Stripe does not answer at {stripe_url} ({error}); start it with"
            " `merchdrop local start stripe`, or pay nothing with --price 0"
        ) from error
