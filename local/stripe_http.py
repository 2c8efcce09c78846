"""HTTP as the Stripe stand-in speaks it: API keys, forms, and answers with Stripe's headers."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from aiohttp import web

from local.stripe_errors import StripeError, invalid, unauthorized
from local.stripe_params import parse
from local.stripe_records import Document

BODY_BYTES_MAX = 256 * 1024  # fifty entries of metadata, each character as three of the form's encoding
KEY_LENGTH_MAX = 255  # as Stripe has it
_API_KEY = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]{1,200}\Z")
_FORM = "application/x-www-form-urlencoded"

Answer = Document | StripeError | dict[str, Any]


def check_api_key(request: web.Request) -> None:
    """Take any key for tests, as a bearer token or as the user of basic authentication.

    Raises:
        StripeError: there is none, or one of another kind.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    if scheme.lower() not in ("basic", "bearer") or not given:
        raise unauthorized("You did not provide an API key; send it as `Authorization: Bearer sk_test_…`.")
    if not _API_KEY.match(given):
        # It isn't repeated: whatever it is, it doesn't belong here, and could be a live one.
        raise unauthorized("Invalid API key provided; this stand-in takes any that begins with sk_test_ or rk_test_.")


def read_key(request: web.Request) -> str | None:
    """The idempotency key, if there is one; only POST takes any.

    Raises:
        StripeError: it is too long, or no printable ASCII.
    """
    key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
    if len(key) > KEY_LENGTH_MAX or not (key.isascii() and key.isprintable()):
        raise invalid(f"An idempotency key has at most {KEY_LENGTH_MAX} characters, all of them printable ASCII.")
    return key or None


async def read_params(request: web.Request) -> dict[str, Any]:
    """The parameters, in the query or in the body.

    Raises:
        StripeError: they are no form, or too many.
    """
    if request.method == "GET":
        return parse(request.query_string)
    try:
        body = (await request.read()).decode()
    except web.HTTPRequestEntityTooLarge:
        raise invalid(f"The body is over {BODY_BYTES_MAX} bytes.", status=413) from None
    except UnicodeDecodeError:
        raise invalid("The body is not UTF-8.") from None
    if body and request.content_type != _FORM:
        raise invalid(f"The content type is {request.content_type}; use {_FORM}.")
    return parse(body)


def respond(
    request: web.Request, answer: Answer, params: dict[str, Any] | None = None, *, replayed: bool = False
) -> web.Response:
    """The answer as an HTTP response."""
    expand = frozenset((params or {}).get("expand", {}).values())
    body = answer if isinstance(answer, dict) else answer.render(expand)
    headers = {"Request-Id": request["id"]}
    if isinstance(answer, StripeError):
        headers |= answer.headers
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    status = answer.status if isinstance(answer, StripeError) else 200
    return web.Response(text=json.dumps(body), status=status, headers=headers, content_type="application/json")
