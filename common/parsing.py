"""Turn a raw request into a validated one, or into the problem that says what is wrong. Nothing in here waits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NoReturn

import orjson
from pydantic import ValidationError

from common.models import CheckoutRequest
from common.problems import Problem
from common.settings import BODY_BYTES_MAX, TEXT_LENGTH_MAX

_DIGITS_MAX = 19  # a longer number is no amount and no quantity; Python would spend quadratic time on reading it


def check_content_type(content_types: Sequence[str]) -> None:
    """Raise a Problem unless there is one content type and it is JSON."""
    if len(content_types) != 1 or content_types[0].partition(";")[0].strip().lower() != "application/json":
        raise Problem("unsupported-media-type", "Send the body as application/json.")


def too_large() -> Problem:
    """The problem of a body over the limit."""
    return Problem("too-large", f"Send at most {BODY_BYTES_MAX} bytes.")


def parse_idempotency_key(values: Sequence[str]) -> str:
    """The key in the `Idempotency-Key` header, bare or as a quoted string (RFC 8941, section 3.3.3); both are one key.

    Raises:
        Problem: the header is missing, repeated, empty, too long, or holds other than printable ASCII.
    """
    if not values:
        raise Problem(
            "idempotency-key-missing",
            "Draw a random key for each order, send it as Idempotency-Key, and keep it for every retry.",
        )
    key = _unquote(values[0]) if values[0].startswith('"') else values[0]
    if len(values) > 1 or key is None or not 1 <= len(key) <= TEXT_LENGTH_MAX or not _printable(key):
        raise Problem("idempotency-key-invalid", f"Send one key of 1 to {TEXT_LENGTH_MAX} printable ASCII characters.")
    return key


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _unquote(text: str) -> str | None:
    out: list[str] = []
    characters = iter(text[1:])
    for character in characters:
        if character == '"':
            return "".join(out) if next(characters, None) is None else None
        if character == "\\" and (character := next(characters, "")) not in ('"', "\\"):
            return None
        out.append(character)
    return None


def parse_checkout(body: bytes) -> CheckoutRequest:
    """The validated request in a body.

    Raises:
        Problem: `malformed-json`, or `invalid-request` with one error for each bad field.
    """
    try:
        document = _DECODER.decode(body.decode("utf-8"))
    except RecursionError:
        raise Problem("malformed-json", "The body is nested too deeply.") from None
    except ValueError as error:
        raise Problem("malformed-json", f"Send one JSON document in UTF-8 ({type(error).__name__}).") from None
    try:
        return CheckoutRequest.model_validate(document)
    except ValidationError as error:
        raise Problem("invalid-request", "Correct the fields named in errors.", errors=_field_errors(error)) from None


def canonical_json(document: dict[str, Any]) -> bytes:
    """The one text of a document: field order and white space don't count."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def fingerprint(canonical: bytes) -> str:
    """SHA-256 over the canonical JSON of a validated request."""
    return hashlib.sha256(canonical).hexdigest()


def _field_errors(error: ValidationError) -> list[dict[str, str]]:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {"field": _readable(".".join(str(part) for part in detail["loc"])), "message": detail["msg"]}
        for detail in details[:TEXT_LENGTH_MAX]
    ]


def _readable(text: str) -> str:
    """A client's own field name, made fit to be sent back."""
    return text[:TEXT_LENGTH_MAX].encode("ascii", "backslashreplace").decode()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _parse_int(digits: str) -> int | float:
    """A whole number; one too long to be meant becomes infinite, which no field takes."""
    return int(digits) if len(digits) <= _DIGITS_MAX else float("inf")


def _parse_float(text: str) -> int | float:
    """A number with a point or an exponent; 1.0 and 1e0 are the integer 1, as JSON Schema has it."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


# orjson is several times faster, but takes a name that stands twice, and rounds numbers that don't fit.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates,
    parse_constant=_no_constant,
    parse_int=_parse_int,
    parse_float=_parse_float,
)
