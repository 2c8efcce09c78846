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


def _now_or_time(value: Any) -> Any:
    if value == "now":
        return None
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


class Item(BaseModel):
    """One SKU of a drop."""

    model_config = ConfigDict(extra="forbid")

    sku: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    stock: int = Field(ge=0, le=1_000_000_000)
    unit_price_minor: int = Field(ge=0, le=99_999_999)
    title: str | None = Field(default=None, min_length=1, max_length=255)


def _distinct(items: list[Item]) -> list[Item]:
    if len({item.sku for item in items}) < len(items):
        raise ValueError("a SKU stands twice")
    return items


Moment = Annotated[AwareDatetime | None, BeforeValidator(_now_or_time)]


class DropSpec(BaseModel):
    """A drop to be created; times left out mean now, and a year from the start."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    name: str | None = Field(default=None, min_length=1, max_length=255)
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    starts_at: Moment = None
    ends_at: Moment = None
    state: str = Field(default="live", pattern="^(live|draft)$")
    per_customer_limit: int | None = Field(default=None, ge=1, le=1_000_000)
    hold_seconds: int = Field(default=600, ge=1, le=86_400)
    order_id_key_version: int = Field(default=1, ge=1)
    items: Annotated[list[Item], Field(min_length=1, max_length=1_000), AfterValidator(_distinct)]


def parse_item(text: str) -> dict[str, Any]:
    """Read SKU=STOCK@PRICE_MINOR[:TITLE].

    Raises:
        BadParameter: it is written otherwise.
    """
    if not (match := _ITEM.fullmatch(text)):
        raise click.BadParameter(f"{text!r} is not SKU=STOCK@PRICE_MINOR[:TITLE], for example TEE-M=500@3500")
    return match.groupdict()


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
