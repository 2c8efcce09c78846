"""Look at a deployed API from outside: `python3 terraform/smoke_test.py https://drops.example.com`.

Nothing is ordered. Every look is repeated until it is as it should be, for five minutes at most, because a load
balancer takes its time. Exit status 1, with what was seen last, when it never is. Python's own library is enough.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

WITHIN_SECONDS = 300.0  # all looks together: a new revision and the load balancer need a minute or two
PAUSE_SECONDS = 5.0
ANSWER_SECONDS = 15.0  # a cold start with its first connection to the database

Answer = tuple[int, Any]  # HTTP status, and the body if it is JSON


def is_well(answer: Answer) -> bool:
    """Checkout reaches everything that it needs."""
    status, body = answer
    return status == 200 and isinstance(body, dict) and body.get("status") == "ok"


def is_described(answer: Answer) -> bool:
    """The API describes itself."""
    status, body = answer
    return status == 200 and isinstance(body, dict) and "/v1/checkout" in body.get("paths", {})


def is_refused(answer: Answer) -> bool:
    """An order without its key comes as far as checkout, which takes it for what it is."""
    status, body = answer
    return status == 400 and isinstance(body, dict) and body.get("type") == "/problems/idempotency-key-missing"


def is_unknown(answer: Answer) -> bool:
    """What is no part of the API leads nowhere."""
    return answer[0] == 404


LOOKS: list[tuple[str, str, Callable[[Answer], bool]]] = [
    ("GET", "/v1/health", is_well),
    ("GET", "/v1/openapi.json", is_described),
    ("POST", "/v1/checkout", is_refused),
    ("GET", "/", is_unknown),
]


def ask(method: str, url: str) -> Answer:
    """What is answered, 0 and the reason if nothing is."""
    body = b"{}" if method == "POST" else None
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
            return response.status, _read(response.read())
    except urllib.error.HTTPError as error:
        return error.code, _read(error.read())
    except OSError as error:
        return 0, str(error)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body[:200].decode(errors="replace")


def look(url: str, deadline: float, pause: float) -> str | None:
    """What isn't as it should be at the deadline; None as soon as all is."""
    for method, path, is_right in LOOKS:
        while not is_right(answer := ask(method, url + path)):
            if time.monotonic() + pause > deadline:
                return f"{method} {url}{path}: {is_right.__doc__} But it answered {answer[0]}: {answer[1]}"
            time.sleep(pause)
        print(f"{method} {path}: {is_right.__doc__}", flush=True)
    return None


def main() -> int:
    """Exit status 0 if all is well."""
    parser = argparse.ArgumentParser(description="Look at a deployed API from outside; nothing is ordered.")
    parser.add_argument("url", help="such as https://drops.example.com")
    parser.add_argument(
        "--within", type=float, default=WITHIN_SECONDS, metavar="SECONDS", help="(default: %(default)s)"
    )
    options = parser.parse_args()
    pause = min(PAUSE_SECONDS, options.within)
    wrong = look(options.url.rstrip("/"), time.monotonic() + options.within, pause)
    if wrong:
        print(wrong, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
