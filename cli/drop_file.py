"""What a new drop is made of, from flags or from a YAML file, checked before the database hears of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import click
import yaml
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

_ITEM = re.compile(r"(?P<sku>[^=]+)=(?P<stock>\d{1,9})@(?P<unit_price_minor>\d{1,8})(?::(?P<title>.+))?")
FILE_BYTES_MAX = 1_000_000


def _time(value: Any) -> datetime | None:
    """A time with a zone. Not left to pydantic, which takes numbers, and so "2027", for seconds since 1970."""
    if isinstance(value, datetime):  # as YAML reads it, which means UTC where no zone is written
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("must be a date, time and zone, for example 2027-01-01T00:00:00Z")
    return time


def _now_or_time(value: Any) -> datetime | None:
    return None if value == "now" else _time(value)


Count = Annotated[int, Field(strict=True)]  # or YAML's `yes` would count as 1


class Item(BaseModel):
    """One SKU of a drop."""

    model_config = ConfigDict(extra="forbid")

    sku: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    stock: Count = Field(ge=0, le=1_000_000_000)
    unit_price_minor: Count = Field(ge=0, le=99_999_999)
    title: str | None = Field(default=None, min_length=1, max_length=255)


def _distinct(items: list[Item]) -> list[Item]:
    if len({item.sku for item in items}) < len(items):
        raise ValueError("a SKU stands twice")
    return items


class DropSpec(BaseModel):
    """A drop to be created; times left out mean now, and a year from the start."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    name: str | None = Field(default=None, min_length=1, max_length=255)
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    starts_at: Annotated[AwareDatetime | None, BeforeValidator(_now_or_time)] = None
    ends_at: Annotated[AwareDatetime | None, BeforeValidator(_time)] = None
    state: str = Field(default="live", pattern="^(live|draft)$")
    per_customer_limit: Count | None = Field(default=None, ge=1, le=1_000_000)
    hold_seconds: Count = Field(default=600, ge=1, le=86_400)
    order_id_key_version: Count = Field(default=1, ge=1)
    items: Annotated[list[Item], Field(min_length=1, max_length=1_000), AfterValidator(_distinct)]


def parse_item(text: str) -> dict[str, Any]:
    """Read SKU=STOCK@PRICE_MINOR[:TITLE].

    Raises:
        BadParameter: it is written otherwise.
    """
    if not (match := _ITEM.fullmatch(text)):
        raise click.BadParameter(f"{text!r} is not SKU=STOCK@PRICE_MINOR[:TITLE], for example TEE-M=500@3500")
    counts = {name: int(match[name]) for name in ("stock", "unit_price_minor")}
    return {"sku": match["sku"], "title": match["title"], **counts}


def read_drop_file(path: Path) -> dict[str, Any]:
    """The fields in a YAML file.

    Raises:
        ClickException: it can't be read, or is no mapping.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise click.ClickException(f"{path} is over {FILE_BYTES_MAX} bytes")
        fields = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise click.ClickException(f"{path} can't be read: {error}") from error
    if not isinstance(fields, dict):
        raise click.ClickException(f"{path} must hold names and values, as examples/twenty-skus.yaml does")
    return fields


def check_drop(fields: dict[str, Any]) -> DropSpec:
    """The drop that the fields describe.

    Raises:
        ClickException: with every field that is wrong.
    """
    try:
        spec = DropSpec.model_validate(fields)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or 'drop'}: {e['msg']}" for e in error.errors()]
        raise click.ClickException("the drop can't be made like this:\n" + "\n".join(lines)) from error
    if spec.ends_at and spec.ends_at <= (spec.starts_at or datetime.now(UTC)):
        raise click.ClickException("the drop can't be made like this:\n  ends_at: must be after starts_at")
    return spec
