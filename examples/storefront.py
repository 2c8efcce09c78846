"""How a shop's server calls Merch Drop: one random key for each order, retries on that key, then polling."""

from __future__ import annotations

import argparse
import json
import random
import time
import uuid
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

FINAL = {"confirmed", "declined", "expired", "cancelled", "refunded", "sold_out", "rejected"}
ATTEMPTS_MAX = 10  # of each call
PAUSE_SECONDS_MAX = 10.0
REQUEST_SECONDS = 40.0  # above the 20 that a poll may wait
POLL_SECONDS_MAX = 900.0  # in all; an order may be held for payment for minutes


def exchange(request: Request) -> tuple[int, str | None, bytes]:
    """Send it once: the status, Retry-After and the body of whatever answer comes."""
    try:
        response = urlopen(request, timeout=REQUEST_SECONDS)
    except HTTPError as error:  # an answer like any other, for us
        response = error
    with response:
        return response.status, response.headers["Retry-After"], response.read()


def explain(status: int, body: bytes) -> str:
    """A refusal in words: the problem's title, detail and wrong fields."""
    try:
        problem = json.loads(body)
        errors = [f"{error['field']}: {error['message']}" for error in problem.get("errors") or []]
        return "\n".join([f"{problem['title']}: {problem['detail']}", *errors])
    except (ValueError, AttributeError, KeyError, TypeError):  # not the engine's answer, but that of a proxy
        return f"status {status}"


def call(request: Request) -> dict[str, Any]:
    """Send it until there is an answer; what is worth trying again is tried again, the rest ends the program."""
    why = ""
    for attempt in range(ATTEMPTS_MAX):
        pause = 0.25 * 2**attempt
        try:
            status, retry_after, body = exchange(request)
            if status < 300:
                return dict(json.loads(body))
            why = explain(status, body)
            if status < 500:
                break
            pause = float(retry_after) if retry_after and retry_after.isdecimal() else pause
        except (OSError, HTTPException, ValueError) as error:
            why = f"no usable answer from {request.full_url}: {error}"
        if attempt < ATTEMPTS_MAX - 1:
            time.sleep(min(pause, PAUSE_SECONDS_MAX) * random.uniform(1, 1.2))  # so that a crowd doesn't come as one
    raise SystemExit(why)


parser = argparse.ArgumentParser(description=__doc__)
for name in ("base_url", "drop_id", "sku"):
    parser.add_argument(name)
parser.add_argument("quantity", type=int)
parser.add_argument("customer_id", nargs="?", default=f"guest-{uuid.uuid4()}")
given = parser.parse_args()
base = given.base_url.rstrip("/")
items = [{"sku": given.sku, "quantity": given.quantity}]
order = json.dumps({"drop_id": given.drop_id, "customer": {"id": given.customer_id}, "items": items}).encode()
headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}  # a real shop stores the key first
shown = call(Request(f"{base}/v1/checkout", order, headers))
give_up_at = time.monotonic() + POLL_SECONDS_MAX
status_url = base + shown["status_url"]
while (shown := call(Request(f"{status_url}?wait=20")))["status"] not in FINAL and time.monotonic() < give_up_at:
    time.sleep(1)
print(shown["status"])
raise SystemExit(0 if shown["status"] == "confirmed" else 1)
