"""The parameters of a request: Stripe's form encoding, and what it says about those it doesn't take."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from local.stripe_errors import invalid
from local.stripe_money import CURRENCIES

Field = Callable[[str, Any], Any]  # takes the parameter's full name and its raw value

PAIRS_MAX = 200  # fifty entries of metadata, and everything else that a request can have
DEPTH_MAX = 3  # created[gte] is the deepest that is taken here has two
METADATA_ENTRIES_MAX, METADATA_NAME_MAX, METADATA_VALUE_MAX = 50, 40, 500  # as Stripe has them
TEXT_MAX = 5_000  # as Stripe has it where it says nothing else
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")


@dataclass(frozen=True)
class Schema:
    """The parameters that an endpoint takes."""

    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()

    def check(self, raw: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """The parameters as values.

        Raises:
            StripeError: one is unknown, missing or malformed; nothing was done, and nothing is remembered.
        """

        def full_name(name: str) -> str:
            return f"{prefix}[{name}]" if prefix else name

        if unknown := [full_name(name) for name in raw if name not in self.fields]:
            many = "s" if len(unknown) > 1 else ""
            raise invalid(f"Received unknown parameter{many}: {', '.join(unknown)}", "parameter_unknown", unknown[0])
        for name in self.required:
            if name not in raw:
                raise invalid(f"Missing required param: {full_name(name)}.", "parameter_missing", full_name(name))
        return {name: self.fields[name](full_name(name), value) for name, value in raw.items()}


def parse(text: str) -> dict[str, Any]:
    """Decode `a=1&b[c]=2&d[]=3`: text, and maps whose keys are names or, for a list, places."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=PAIRS_MAX, errors="strict")
    except ValueError:
        raise invalid(f"The parameters are no form of at most {PAIRS_MAX} fields in UTF-8.") from None
    params: dict[str, Any] = {}
    for name, value in pairs:
        _put(params, name, value)
    return params


def _put(params: dict[str, Any], name: str, value: str) -> None:
    match = _NAME.match(name)
    inner = re.findall(r"\[([^\[\]]*)\]", match[2]) if match else []
    if match is None or len(inner) >= DEPTH_MAX:
        raise invalid(f"Not a parameter's name: {name}", "parameter_unknown", name)
    target, path = params, [match[1], *inner]
    for part in path[:-1]:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise invalid(f"{name} is both a value and an object.", param=name)
    target[path[-1] or str(len(target))] = value


def text(longest: int = TEXT_MAX) -> Field:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid(f"Invalid string for {name}.", param=name)
        if not value:
            raise invalid(f"{name} is empty; leave it out, or give it a value.", "parameter_invalid_empty", name)
        if len(value) > longest:
            raise invalid(f"{name} has more than {longest} characters.", param=name)
        return value

    return check


def matching(pattern: str, what: str, code: str | None = None) -> Field:
    def check(name: str, value: Any) -> str:
        checked: str = text()(name, value)
        if not re.fullmatch(pattern, checked):
            raise invalid(f"Invalid {what}: {checked}", code, name)
        return checked

    return check


def integer(lowest: int, highest: int, too_large: str | None = None) -> Field:
    def check(name: str, value: Any) -> int:
        if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise invalid(f"Invalid integer: {value}", "parameter_invalid_integer", name)
        if int(value) < lowest:
            raise invalid(f"{name} must be at least {lowest}.", "parameter_invalid_integer", name)
        if int(value) > highest:
            raise invalid(f"{name} must be at most {highest}.", too_large or "parameter_invalid_integer", name)
        return int(value)

    return check


def boolean(name: str, value: Any) -> bool:
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def choice(*allowed: str) -> Field:
    def check(name: str, value: Any) -> str:
        if value not in allowed:
            raise invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", param=name)
        return str(value)

    return check


def currency(name: str, value: Any) -> str:
    checked: str = text()(name, value)
    if checked not in CURRENCIES:
        raise invalid(f"Invalid currency: {checked}; use three lower-case letters, such as usd.", param=name)
    return checked


def list_of(field: Field) -> Field:
    def check(name: str, value: Any) -> list[Any]:
        if not isinstance(value, dict) or not all(place.isdecimal() for place in value):
            raise invalid("Invalid array", param=name)
        return [field(f"{name}[{place}]", value[place]) for place in sorted(value, key=int)]

    return check


def nested(schema: Schema) -> Field:
    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid("Invalid object", param=name)
        return schema.check(value, name)

    return check


def either(first: Field, second: Field) -> Field:
    """The first for a plain value, the second for an object."""
    return lambda name, value: (second if isinstance(value, dict) else first)(name, value)


def metadata(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
        raise invalid("Invalid object", param=name)
    if len(value) > METADATA_ENTRIES_MAX:
        raise invalid(f"{name} has more than {METADATA_ENTRIES_MAX} entries.", param=name)
    for key, entry in value.items():
        if len(key) > METADATA_NAME_MAX or len(entry) > METADATA_VALUE_MAX:
            limits = f"{METADATA_NAME_MAX} characters in a name, {METADATA_VALUE_MAX} in a value"
            raise invalid(f"{name}[{key}] is too long: {limits}.", param=f"{name}[{key}]")
    return {key: entry for key, entry in value.items() if entry}
