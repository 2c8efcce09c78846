"""`python -m cli.api_docs > docs/api.md`: the API for people, from what the OpenAPI document is made of."""

from __future__ import annotations

import json
import sys
from typing import Any

from common.openapi import CALLS, EXAMPLES, openapi_document, problem_example
from common.problems import NAMES, status_of

_INTRO = """\
<!-- Made by `python -m cli.api_docs > docs/api.md`; change common/openapi.py instead. -->

# The API

Bodies are JSON, amounts are whole numbers of the currency's minor unit, times are ISO 8601. The same as an OpenAPI 3.1
document: `GET /v1/openapi.json`. Complete clients: [`examples/storefront.py`](../examples/storefront.py) and
[`examples/storefront.mjs`](../examples/storefront.mjs).

**Retries.** Draw one random `Idempotency-Key` for each order, keep it, and send the same body with the same key until
there is an answer: after a network error, a time-out or a 5xx, wait `Retry-After` seconds and send it again. The same
key never makes a second order; a repeated one is answered with the first one's order and `Idempotency-Replayed: true`.

**Polling.** A 202 means that the order is durable, not that it is decided. Call its `status_url` with `?wait=20`, which
answers as soon as the status changes, until the status is final: `confirmed`, `declined`, `expired`, `cancelled`,
`refunded`, `sold_out` or `rejected`. An answer may also come early, so pause a second between two calls.

**Customers.** `customer.id` is the shop's word, and a limit per customer counts by it. The engine can't check it: where
browsers call checkout directly, a buyer can name any id. Put your own server in between, or let it sign the id and
check that before the engine is reached.

**Errors** are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems (`application/problem+json`). The last part
of `type` is the problem's name and is stable; `title` and `detail` are for people, and `detail` differs from the
examples below.
"""
_FORM_WORDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} character(s)",
    "maxLength": "at most {} characters",
    "pattern": "matches `{}`",
}


def render_api_docs() -> str:
    """All of docs/api.md."""
    paths = openapi_document()["paths"]
    parts = [_INTRO]
    for call in CALLS:
        parts += _call(call, paths[call["path"]][call["method"]])
    parts += _everywhere()
    return "\n".join(parts)


def _call(call: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    parts = [f"## {call['method'].upper()} {call['path']}\n", f"{call['summary']}.\n"]
    if parameters := operation.get("parameters"):
        rows = [_parameter(parameter) for parameter in parameters]
        parts.append("\n".join(["| Parameter | In | Required | Meaning |", "| --- | --- | --- | --- |", *rows, ""]))
    if "body" in call:
        parts += ["### Request\n", _fenced(EXAMPLES[call["body"].__name__])]
    status, model = call["answer"]
    parts += [f"### {status}\n", f"{model.__doc__}\n", _fenced(EXAMPLES[model.__name__])]
    for name in sorted(call["problems"], key=lambda name: (status_of(name), NAMES.index(name))):
        parts += _problem(name)
    return parts


def _everywhere() -> list[str]:
    """The problems that no call lists: they belong to paths and methods that there aren't."""
    listed = {name for call in CALLS for name in call["problems"]}
    parts = ["## Any other path or method\n"]
    for name in NAMES:
        if name not in listed:
            parts += _problem(name)
    return parts


def _problem(name: str) -> list[str]:
    return [f"### {status_of(name)} {name}\n", _fenced(problem_example(name))]


def _parameter(parameter: dict[str, Any]) -> str:
    form = [words.format(parameter["schema"][key]) for key, words in _FORM_WORDS.items() if key in parameter["schema"]]
    meaning = [parameter.get("description", ""), f"{', '.join([parameter['schema']['type'].capitalize(), *form])}."]
    if "example" in parameter:
        meaning.append(f"For example `{parameter['example']}`.")
    required = "yes" if parameter.get("required") else "no"
    cells = [f"`{parameter['name']}`", parameter["in"], required, " ".join(filter(None, meaning)).replace("|", "\\|")]
    return f"| {' | '.join(cells)} |"


def _fenced(example: Any) -> str:
    return f"```json\n{json.dumps(example, indent=2)}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(render_api_docs())
