"""What a new drop is made of, from flags or from a YAML file, checked before the database hears of it."""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import click
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from common.drop_contracts import NewDrop

_ITEM = re.compile(r"(?P<sku>[^=]+)=(?P<stock>\d{1,9})@(?P<unit_price_minor>\d{1,8})(?::(?P<title>.+))?")
FILE_BYTES_MAX = 1_000_000
ERRORS_MAX = 20  # shown of one file
# Clients in many languages read times between these, a year added and in any zone.
YEARS = range(1970, 9_998)


def _time(value: Any) -> datetime | None:
    """A time with a zone. Not left to pydantic, which takes numbers, and so "2027", for seconds since 1970."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("must be a date, time and zone, for example 2027-01-01T00:00:00Z")
    if time.year not in YEARS:
        raise ValueError(f"must be between the years {YEARS.start} and {YEARS.stop - 1}")
    return time


def _now_or_time(value: Any) -> datetime | None:
    return None if value == "now" else _time(value)


def _like(pattern: str, words: str) -> AfterValidator:
    """A text that matches; pydantic's own message would show the pattern to people."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {words}")
        return text

    return AfterValidator(check)


Count = Annotated[int, Field(strict=True)]  # or YAML's `true` would count as 1
Text = Annotated[
    str, _like(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}", "1 to 255 characters, none of them a control character")
]


class Item(BaseModel):
    """One SKU of a drop."""

    model_config = ConfigDict(extra="forbid")

    sku: Annotated[str, _like("[A-Za-z0-9._-]{1,64}", "1 to 64 letters, digits, points, underscores or hyphens")]
    stock: Count = Field(ge=0, le=1_000_000_000)
    unit_price_minor: Count = Field(ge=0, le=99_999_999)
    title: Text | None = None


def _distinct(items: list[Item]) -> list[Item]:
    if len({item.sku for item in items}) < len(items):
        raise ValueError("a SKU stands twice")
    return items


class DropSpec(BaseModel):
    """A drop to be created; times left out mean now, and a year from the start."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, _like("[a-z0-9][a-z0-9-]{0,62}", "1 to 63 small letters, digits or hyphens, no hyphen first")]
    name: Text | None = None
    currency: Annotated[str, _like("[A-Z]{3}", "three capital letters, as in ISO 4217")] = "USD"
    starts_at: Annotated[datetime | None, BeforeValidator(_now_or_time)] = None
    ends_at: Annotated[datetime | None, BeforeValidator(_time)] = None
    state: Annotated[str, _like("live|draft", "live or draft")] = "live"
    per_customer_limit: Count | None = Field(default=None, ge=1, le=1_000_000)
    hold_seconds: Count = Field(default=600, ge=1, le=86_400)
    order_id_key_version: Count = Field(default=1, ge=1)
    items: Annotated[list[Item], Field(min_length=1, max_length=1_000), AfterValidator(_distinct)]

    def wanted(self) -> NewDrop:
        """What create_drop takes."""
        return cast(NewDrop, self.model_dump(mode="json"))


class _Plain(yaml.SafeLoader):
    """YAML that means what a person sees: true, null and decimal numbers, each name once, and all else is text.

    YAML 1.1 would read 010 as 8, 35:00 as 2100, `no` as false, and a time without a zone as UTC.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError(None, None, "a name stands twice in one mapping", node.start_mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", "true|false", "tf"),
    ("null", "null|~|", ["n", "~", ""]),
    ("int", "0|-?[1-9][0-9]*", "-0123456789"),
    ("float", r"-?[0-9]+\.[0-9]+", "-0123456789"),
):
    _Plain.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def parse_item(text: str) -> dict[str, Any]:
    """Read SKU=STOCK@PRICE_MINOR[:TITLE].

    Raises:
        BadParameter: it is written otherwise.
    """
    if not (match := _ITEM.fullmatch(text)):
        raise click.BadParameter(
            f"{text!r} is not SKU=STOCK@PRICE_MINOR[:TITLE], for example TEE-M=500@3500"
            " (500 units at 35.00: prices are whole numbers of the currency's minor unit)",
            param_hint="--item",
        )
    counts = {name: int(match[name]) for name in ("stock", "unit_price_minor")}
    return {"sku": match["sku"], "title": match["title"], **counts}


def read_drop_file(path: Path) -> dict[str, Any]:
    """The fields in a YAML file.

    Raises:
        UsageError: it can't be read, or is no mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise click.UsageError(f"{path} is over {FILE_BYTES_MAX} bytes")
        fields = yaml.load(content, _Plain)  # a SafeLoader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise click.UsageError(f"{path} can't be read: {error}") from error
    except RecursionError as error:
        raise click.UsageError(f"{path} is nested too deeply") from error
    if not isinstance(fields, dict):
        raise click.UsageError(f"{path} must hold names and values, as examples/twenty-skus.yaml does")
    return fields


def check_drop(fields: dict[str, Any]) -> DropSpec:
    """The drop that the fields describe.

    Raises:
        UsageError: with every field that is wrong.
    """
    try:
        spec = DropSpec.model_validate(fields)
    except ValidationError as error:
        wrong = [(".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in error.errors()]
        lines = [f"  {place or 'drop'}: {message}" for place, message in wrong[:ERRORS_MAX]]
        more = [f"  … and {len(wrong) - ERRORS_MAX} more"] if len(wrong) > ERRORS_MAX else []
        raise click.UsageError("\n".join(["the drop can't be made like this:", *lines, *more])) from error
    if spec.ends_at and spec.ends_at <= (spec.starts_at or datetime.now(UTC)):
        raise click.UsageError("the drop can't be made like this:\n  ends_at: must be after starts_at")
    return spec
