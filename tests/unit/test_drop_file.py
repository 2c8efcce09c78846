"""What makes a drop, and what is refused before the database hears of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from cli.drop_file import FILE_BYTES_MAX, check_drop, parse_item, read_drop_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "twenty-skus.yaml"
TEE = {"sku": "TEE-M", "stock": 500, "unit_price_minor": 3500, "title": None}


def drop(**fields: Any) -> dict[str, Any]:
    return {"id": "tee-drop", "items": [dict(TEE)], **fields}


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("TEE-M=500@3500", TEE),
        ("TEE-M=500@3500:Tee, medium", {**TEE, "title": "Tee, medium"}),
        ("TEE-M=500@3500:Tee: a=b@c", {**TEE, "title": "Tee: a=b@c"}),
        ("TEE-M=0@0", {**TEE, "stock": 0, "unit_price_minor": 0}),
    ],
)
def test_an_item_is_sku_stock_price_and_title(text: str, item: dict[str, Any]) -> None:
    assert parse_item(text) == item
    check_drop(drop(items=[parse_item(text)]))


@pytest.mark.parametrize(
    "text", ["", "TEE-M", "TEE-M=500", "TEE-M@3500", "=5@1", "T=-5@1", "T=5@-1", "T=1.5@1", "T=5@35.00", "T=5@1:"]
)
def test_an_item_written_otherwise_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="TEE-M=500@3500"):
        parse_item(text)


def test_everything_but_id_and_items_has_a_default() -> None:
    spec = check_drop(drop())
    assert (spec.name, spec.currency, spec.state, spec.hold_seconds) == (None, "USD", "live", 600)
    assert (spec.starts_at, spec.ends_at, spec.per_customer_limit) == (None, None, None)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "Tee"}, "id"),
        ({"id": "-tee"}, "id"),
        ({"id": "t" * 64}, "id"),
        ({"id": "tee\n"}, "id"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"name": ""}, "name"),
        ({"state": "ended"}, "state"),
        ({"hold_seconds": 0}, "hold_seconds"),
        ({"per_customer_limit": 0}, "per_customer_limit"),
        ({"starts_at": "tomorrow"}, "starts_at"),
        ({"starts_at": "2027"}, "starts_at"),
        ({"starts_at": 2027}, "starts_at"),
        ({"starts_at": "2027-01-01T00:00:00"}, "starts_at"),
        ({"ends_at": "now"}, "ends_at"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}, "ends_at"),
        ({"items": []}, "items"),
        ({"items": [TEE, TEE]}, "items: Value error, a SKU stands twice"),
        ({"items": [{**TEE, "sku": "TEE M"}]}, "items.0.sku"),
        ({"items": [{**TEE, "sku": "T" * 65}]}, "items.0.sku"),
        ({"items": [{**TEE, "stock": -1}]}, "items.0.stock"),
        ({"items": [{**TEE, "stock": True}]}, "items.0.stock"),
        ({"items": [{**TEE, "unit_price_minor": 35.0}]}, "items.0.unit_price_minor"),
        ({"items": [{**TEE, "price": 1}]}, "items.0.price"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(click.ClickException) as refused:
        check_drop(drop(**fields))
    assert f"  {named}" in refused.value.message


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(click.ClickException) as refused:
        check_drop({"currency": "usd", "items": []})
    assert all(f"  {name}: " in refused.value.message for name in ("id", "currency", "items"))


def test_a_time_has_a_zone_or_is_now() -> None:
    assert check_drop(drop(starts_at="now")).starts_at is None
    spec = check_drop(drop(starts_at="2030-01-01T01:00:00+01:00", ends_at="2031-01-01T00:00:00Z"))
    assert (spec.starts_at, spec.ends_at) == (datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC))


def test_a_yaml_time_without_a_zone_is_utc(tmp_path: Path) -> None:
    file = tmp_path / "drop.yaml"
    file.write_text("{id: tee, starts_at: 2030-01-01 00:00:00, items: [{sku: A, stock: 1, unit_price_minor: 0}]}")
    assert check_drop(read_drop_file(file)).starts_at == datetime(2030, 1, 1, tzinfo=UTC)


def test_the_example_is_a_drop_of_twenty() -> None:
    spec = check_drop(read_drop_file(EXAMPLE))
    assert (spec.id, len(spec.items), spec.per_customer_limit) == ("twenty-skus", 20, 4)


@pytest.mark.parametrize("content", [b"", b"- a list", b"a: [", b"\xff\xfe\xfa", b"#" * (FILE_BYTES_MAX + 1)])
def test_a_file_that_is_no_drop_is_refused_by_its_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "drop.yaml"
    file.write_bytes(content)
    with pytest.raises(click.ClickException, match=r"drop\.yaml"):
        read_drop_file(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="can't be read"):
        read_drop_file(tmp_path / "nothing.yaml")
