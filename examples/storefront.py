"""How a shop's server calls Merch Drop: one random key for each order, retries on that key, polling, 3-D Secure."""

from __future__ import annotations

import argparse
import json
import random
import sys
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
USUAL = {"customer_id": f"guest-{uuid.uuid4()}", "payment_method": "pm_card_visa"}  # Stripe.js makes real ones


def explain(answer: HTTPError) -> str:
    """A refusal in words: the problem's title, detail and wrong fields."""
    try:
        with answer:
            problem = json.load(answer)
        errors = [f"{error['field']}: {error['message']}" for error in problem.get("errors") or []]
        return "\n".join([f"{problem['title']}: {problem['detail']}", *errors])
    except (OSError, HTTPException, ValueError, AttributeError, KeyError, TypeError):  # not the engine's, but a proxy's
        return f"status {answer.code}"


def call(request: Request) -> dict[str, Any]:
    """Send it until there is an answer; what is worth trying again is tried again, the rest ends the program."""
    why = ""
    for attempt in range(ATTEMPTS_MAX):
        pause = 0.25 * 2**attempt
        try:
            with urlopen(request, timeout=REQUEST_SECONDS) as response:
                return dict(json.load(response))
        except HTTPError as error:
            why = explain(error)
            if error.code < 500:
                break
            retry_after = error.headers["Retry-After"] or ""
            pause = float(retry_after) if retry_after.isdecimal() else pause
        except (OSError, HTTPException, ValueError) as error:
            why = f"no usable answer from {request.full_url}: {error}"
        if attempt < ATTEMPTS_MAX - 1:
            time.sleep(min(pause, PAUSE_SECONDS_MAX) * random.uniform(1, 1.2))  # so that a crowd doesn't come as one
    raise SystemExit(why)


parser = argparse.ArgumentParser(description=__doc__)
for name in ("base_url", "drop_id", "sku", "quantity"):
    parser.add_argument(name, type=int if name == "quantity" else str)
for name, usual in USUAL.items():
    parser.add_argument(name, nargs="?", default=usual)
given = parser.parse_args()
base = given.base_url.rstrip("/")
items = [{"sku": given.sku, "quantity": given.quantity}]
order = {"drop_id": given.drop_id, "customer": {"id": given.customer_id}, "items": items}
order["payment_method"] = given.payment_method  # a free order needs none
headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}  # a real shop stores the key first
shown = call(Request(f"{base}/v1/checkout", json.dumps(order).encode(), headers))
give_up_at = time.monotonic() + POLL_SECONDS_MAX
status_url, is_asked = base + shown["status_url"], False
while (shown := call(Request(f"{status_url}?wait=20")))["status"] not in FINAL and time.monotonic() < give_up_at:
    if shown["status"] == "action_required" and not is_asked:
        # The bank asks the buyer (3-D Secure): hand shown["payment"]["client_secret"] to his browser, and to nobody and
        # no log else. There, Stripe.js does it: stripe.handleNextAction({ clientSecret }). Polling tells how it ends.
        print("the buyer has to act", file=sys.stderr)
        is_asked = True
    time.sleep(1)
print(shown["status"])
raise SystemExit(0 if shown["status"] == "confirmed" else 1)
