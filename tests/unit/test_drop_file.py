"""What makes a drop, and what is refused before the database hears of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from cli.drop_file import ERRORS_MAX, FILE_BYTES_MAX, DropSpec, Item, check_drop, parse_item, read_drop_file
from common.drop_contracts import NewDrop, NewItem

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
        ({"name": "two\nlines"}, "name"),
        ({"name": "n" * 256}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"state": "ended"}, "state"),
        ({"hold_seconds": 0}, "hold_seconds"),
        ({"per_customer_limit": 0}, "per_customer_limit"),
        ({"starts_at": "tomorrow"}, "starts_at"),
        ({"starts_at": "2027"}, "starts_at"),
        ({"starts_at": 2027}, "starts_at"),
        ({"starts_at": "2027-01-01T00:00:00"}, "starts_at"),
        ({"starts_at": datetime(2027, 1, 1, tzinfo=UTC)}, "starts_at"),
        ({"starts_at": "9998-01-01T00:00:00Z"}, "starts_at"),
        ({"starts_at": "1969-12-31T00:00:00Z"}, "starts_at"),
        ({"ends_at": "9999-01-01T00:00:00Z"}, "ends_at"),
        ({"ends_at": "now"}, "ends_at"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}, "ends_at"),
        ({"items": []}, "items"),
        ({"items": [TEE, TEE]}, "items: a SKU stands twice"),
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


def test_there_are_as_many_fields_as_create_drop_takes() -> None:
    assert set(DropSpec.model_fields) == set(NewDrop.__annotations__)
    assert set(Item.model_fields) == set(NewItem.__annotations__)


def test_of_many_wrong_fields_the_first_are_named() -> None:
    with pytest.raises(click.UsageError) as refused:
        check_drop(drop(items=[{}] * 1_000))
    assert len(refused.value.message.splitlines()) == ERRORS_MAX + 2
    assert refused.value.message.endswith(f"and {3_000 - ERRORS_MAX} more")


def read(content: str, directory: Path) -> DropSpec:
    """The drop in a YAML file."""
    file = directory / "drop.yaml"
    file.write_text(content, encoding="utf-8")
    return check_drop(read_drop_file(file))


def test_a_file_means_what_a_person_sees(tmp_path: Path) -> None:
    spec = read(
        """
        id: no
        name: Größe
        starts_at: 2030-01-01 00:00:00+01:00
        per_customer_limit: ~
        items: [&tee {sku: A, stock: 10, unit_price_minor: 0}, {sku: "007", stock: 1, unit_price_minor: 5}]
        """,
        tmp_path,
    )
    assert (spec.id, spec.name, spec.per_customer_limit) == ("no", "Größe", None)
    assert spec.starts_at == datetime(2029, 12, 31, 23, tzinfo=UTC)
    assert [(item.sku, item.stock) for item in spec.items] == [("A", 10), ("007", 1)]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("starts_at: 2030-01-01 00:00:00", "starts_at: must be a date, time and zone"),
        ("starts_at: 2030-01-01", "starts_at: must be a date, time and zone"),
        ("starts_at: !!timestamp 2030-01-01", "starts_at: must be a date, time and zone"),
        ("hold_seconds: 010", "hold_seconds: Input should be a valid integer"),
        ("hold_seconds: 0x10", "hold_seconds: Input should be a valid integer"),
        ("hold_seconds: 10:00", "hold_seconds: Input should be a valid integer"),
        ("hold_seconds: 1_000", "hold_seconds: Input should be a valid integer"),
        ("hold_seconds: 60.0", "hold_seconds: Input should be a valid integer"),
        ("hold_seconds: true", "hold_seconds: Input should be a valid integer"),
        ("hold_seconds: [60]", "hold_seconds: Input should be a valid integer"),
        ("name: 2027", "name: Input should be a valid string"),
        (r'name: "\0"', "name: must be 1 to 255 characters"),
        ("colour: red", "colour: Extra inputs"),
        ("1: red", "1: Keys should be strings"),
        ("<<: {name: Tee}", "<<: Extra inputs"),
        ("items: 5", "items: Input should be a valid list"),
    ],
)
def test_a_wrong_value_in_a_file_is_named(content: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError) as refused:
        read(content, tmp_path)
    assert f"  {named}" in refused.value.message


BOMB = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" if n else "a0: &a0 [boom]" for n in range(30))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id: one\nid: two", "a name stands twice"),
        ("items: [{sku: A, stock: 1, stock: 100}]", "a name stands twice"),
        ("id: !!python/object:os.system x", "could not determine a constructor"),
        ("id: *nowhere", "undefined alias"),
        ("? [a]\n: b", "unhashable key"),
        ("hold_seconds: " + "9" * 5_000, "can't be read"),
        ("[" * 5_000, "nested too deeply"),
        (f"{BOMB}\n? *a29\n: x", "unhashable key"),
    ],
)
def test_a_file_that_is_meant_to_trick_is_refused(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"drop\.yaml") as refused:
        read(content, tmp_path)
    assert told in refused.value.message


def test_a_file_that_grows_when_it_is_read_is_refused_as_any_other(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="a0: Extra inputs"):
        read(BOMB, tmp_path)


def test_the_example_is_a_drop_of_twenty() -> None:
    spec = check_drop(read_drop_file(EXAMPLE))
    assert (spec.id, len(spec.items), spec.per_customer_limit) == ("twenty-skus", 20, 4)


@pytest.mark.parametrize("content", [b"", b"- a list", b"a: [", b"\xff\xfe\xfa", b"#" * (FILE_BYTES_MAX + 1)])
def test_a_file_that_is_no_drop_is_refused_by_its_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "drop.yaml"
    file.write_bytes(content)
    with pytest.raises(click.ClickException, match=r"drop\.yaml"):
        read_drop_file(file)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(click.UsageError, match="/dev/zero is over"):
        read_drop_file(Path("/dev/zero"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="can't be read"):
        read_drop_file(tmp_path / "nothing.yaml")
