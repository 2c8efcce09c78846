"""`merchdrop drop …` on a real database: what it makes, shows and changes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command import COLUMNS, fail, succeed, tell

EXAMPLE = Path(__file__).parents[2] / "examples" / "twenty-skus.yaml"
CREATE = ("drop", "create", "tee", "--item", "M=5@0", "--item", "L=2@3500:Tee, large")


def state(url: str) -> str:
    return str(tell("drop", "show", "tee", url=url)["state"])


def everything(url: str) -> Any:
    return tell("drop", "list", url=url)


def test_a_drop_is_made_of_its_flags_and_of_defaults(database_url: str) -> None:
    made = tell(*CREATE, "--per-customer-limit", "2", "--currency", "EUR", url=database_url)
    assert made == tell("drop", "show", "tee", url=database_url) == everything(database_url)[0]
    assert (made["name"], made["state"], made["currency"]) == ("tee", "live", "EUR")
    assert (made["per_customer_limit"], made["hold_seconds"]) == (2, 600)
    assert int(made["ends_at"][:4]) - int(made["starts_at"][:4]) == 1
    assert made["items"] == [
        {"sku": "L", "title": "Tee, large", "unit_price_minor": 3500, **counters(2)},
        {"sku": "M", "title": "M", "unit_price_minor": 0, **counters(5)},
    ]


def counters(stock: int) -> dict[str, int]:
    return {"stock": stock, "available": stock, "reserved": 0, "sold": 0}


def test_a_drop_is_made_of_a_file_under_another_id_as_a_draft(database_url: str) -> None:
    made = tell("drop", "create", "mine", "--file", EXAMPLE, "--draft", url=database_url)
    assert (made["drop_id"], made["state"], made["name"], len(made["items"])) == ("mine", "draft", "Twenty SKUs", 20)


def test_a_drop_that_exists_is_left_as_it_is(database_url: str) -> None:
    before = tell(*CREATE, url=database_url)
    assert "already" in fail("drop", "create", "tee", "--item", "XL=9@1", "--json", url=database_url)
    assert everything(database_url) == [before]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "items: List should have at least 1 item"),
        (("--item", "M=5@35.00"), "whole numbers"),
        (("--item", "M=-5@1"), "SKU=STOCK@PRICE_MINOR"),
        (("--item", "M=1@1", "--item", "M=2@1"), "items: a SKU stands twice"),
        (("--item", "M=1@1", "--currency", "euro"), "currency: must be three capital letters"),
        (("--item", "M=1@1", "--starts-at", "2030-01-01T00:00"), "starts_at: must be a date, time and zone"),
        (("--item", "M=1@1", "--starts-at", "9999-01-01T00:00Z"), "starts_at: must be between the years"),
        (("--item", "M=1@1", "--starts-at", "2030-01-01T00:00Z", "--ends-at", "2030-01-01T00:00Z"), "after starts_at"),
        (("--item", "M=1@1", "--per-customer-limit", "0"), "per_customer_limit: Input should be greater"),
        (("--item", "M=1@1", "--hold-seconds", "soon"), "'soon' is not a valid integer"),
        (
            ("--item", "M=1@1", "--name", "two\nlines"),
            "name: must be 1 to 255 characters, none of them a control character",
        ),
        (("--item", "M=1@1", "--file", "drop.yaml"), "--file or the flags"),
        (("--file", "nowhere.yaml"), "nowhere.yaml can't be read"),
        (("--colour", "red"), "No such option"),
    ],
)
def test_a_drop_that_makes_no_sense_is_refused_with_what_is_wrong(
    database_url: str, arguments: tuple[str, ...], told: str
) -> None:
    assert told in fail("drop", "create", "tee", *arguments, url=database_url, status=2)
    assert everything(database_url) == []


def test_a_bad_id_is_refused(database_url: str) -> None:
    assert "id: must be 1 to 63" in fail("drop", "create", "Tee!", "--item", "M=1@1", url=database_url, status=2)


def test_units_are_added_once_for_each_ref(database_url: str) -> None:
    succeed(*CREATE, url=database_url)
    more = ("drop", "restock", "tee", "M", "5", "--ref", "delivery-1")
    assert tell(*more, url=database_url) == {"outcome": "ok", "stock": 10}
    assert tell(*more, url=database_url) == {"outcome": "replayed", "stock": 10}
    assert "nothing was changed" in succeed(*more, url=database_url)
    assert succeed("drop", "restock", "tee", "M", "1", url=database_url) == "M of tee: stock is 11\n"
    assert tell("drop", "restock", "tee", "M", "1", url=database_url)["stock"] == 12
    assert succeed("audit", "tee", url=database_url) == "0 violations, 0 late orders\n"


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("nope", "M", "1"), 1, "no drop 'nope'; see `merchdrop drop list`"),
        (("tee", "XL", "1"), 1, "no SKU 'XL'; see `merchdrop drop show tee`"),
        (("tee", "M", "-1"), 2, "-1 is not in the range"),
        (("tee", "M", "0"), 2, "0 is not in the range"),
        (("tee", "M", "1.5"), 2, "'1.5' is not a valid"),
        (("tee", "M", "1", "--ref", ""), 2, "1 to 255 printable characters"),
        (("tee", "M", "1", "--ref", "x" * 256), 2, "1 to 255 printable characters"),
        (("tee", "M", "1", "--fer", "x"), 2, "--fer"),
    ],
)
def test_a_wrong_restock_adds_nothing(database_url: str, arguments: tuple[str, ...], status: int, told: str) -> None:
    succeed(*CREATE, url=database_url)
    before = everything(database_url)
    assert told in fail("drop", "restock", *arguments, url=database_url, status=status)
    assert everything(database_url) == before


def test_more_units_than_a_sku_can_have_change_nothing(database_url: str) -> None:
    tell("drop", "create", "tee", "--item", "M=999999999@0", url=database_url)
    assert "nothing was changed" in fail("drop", "restock", "tee", "M", "2", url=database_url)
    assert tell("drop", "show", "tee", url=database_url)["items"][0]["stock"] == 999_999_999


def test_a_drop_goes_from_draft_to_its_end(database_url: str) -> None:
    succeed(*CREATE, "--draft", url=database_url)
    for command, after, was in (
        ("open", "live", "draft"),
        ("open", "live", "live"),
        ("resume", "live", "live"),
        ("pause", "paused", "live"),
        ("resume", "live", "paused"),
        ("close", "ended", "live"),
        ("close", "ended", "ended"),
    ):
        told = tell("drop", command, "tee", url=database_url)
        assert told == {"drop_id": "tee", "state": after, "was": was}
        assert state(database_url) == after


@pytest.mark.parametrize(
    ("before", "command", "instead"),
    [
        ((), "resume", "is a draft; `merchdrop drop open tee`"),
        ((), "pause", "is a draft; `merchdrop drop open tee`"),
        (("open", "pause"), "open", "is paused; `merchdrop drop resume tee`"),
        (("close",), "open", "has ended"),
        (("close",), "pause", "has ended"),
        (("close",), "resume", "has ended"),
    ],
)
def test_a_state_that_a_command_is_not_for_is_left_and_the_right_command_named(
    database_url: str, before: tuple[str, ...], command: str, instead: str
) -> None:
    succeed(*CREATE, "--draft", url=database_url)
    for earlier in before:
        succeed("drop", earlier, "tee", url=database_url)
    kept = state(database_url)
    assert instead in fail("drop", command, "tee", url=database_url)
    assert state(database_url) == kept


@pytest.mark.parametrize("command", ["show", "open", "pause", "resume", "close"])
def test_an_unknown_drop_is_told_to_be(database_url: str, command: str) -> None:
    assert "no drop 'nope'; see `merchdrop drop list`" in fail("drop", command, "nope", url=database_url)


def test_tables_fit_a_narrow_terminal_and_no_id_is_cut(database_url: str) -> None:
    skus = ["HOODIE-BLACK-ORGANIC-COTTON-XXL", "L"]
    items = ("--item", f"{skus[0]}=1000000@9500:Hoodie of black organic cotton, very large", "--item", "L=2@0")
    succeed("drop", "create", "sale-1795497897123", *items, "--name", "A name " * 20, url=database_url)
    listed = succeed("drop", "list", url=database_url).splitlines()
    assert listed[0].split() == ["drop", "state", "starts", "(UTC)", "ends", "(UTC)", "sold", "left"]
    assert listed[1].split()[:2] == ["sale-1795497897123", "live"]
    shown = succeed("drop", "show", "sale-1795497897123", url=database_url)
    table = shown.partition("\n\n")[2].splitlines()
    assert max(map(len, [*listed, *table])) <= COLUMNS
    assert all(any(line.split()[0] == sku for line in table) for sku in skus)
    assert "1000000" in shown


def test_an_empty_database_says_how_to_begin(database_url: str) -> None:
    assert "merchdrop drop create --help" in succeed("drop", "list", url=database_url)
    assert everything(database_url) == []
