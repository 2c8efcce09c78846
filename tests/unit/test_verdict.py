"""A sale is judged clean when it was, and every broken promise is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cli.crowd import Buyer, Plan, draw_buyers
from cli.verdict import Booked, judge


def buyer(name: str, status: str | None = "confirmed", copies: int = 1) -> Buyer:
    return Buyer(f"run-{name}", {}, copies, order_ids={f"id-{name}"}, accept_seconds=0.01, status=status)


def refused(name: str, problem: str = "sold-out") -> Buyer:
    return Buyer(f"run-{name}", {}, 1, refusals=[problem])


def order(name: str, status: str = "confirmed", quantity: int = 1, decided: float = 1.0) -> dict[str, Any]:
    return {
        "order_id": f"id-{name}",
        "idempotency_key": f"run-{name}",
        "status": status,
        "items": [{"sku": "TEE", "quantity": quantity}],
        "accepted_epoch": 0.5,
        "decided_epoch": decided,
        "decision_seconds": decided - 0.5,
    }


def booked(*orders: dict[str, Any], units: int = 2, sold: int = 2, violations: int = 0) -> Booked:
    return Booked(units, sold, {"TEE": units - sold}, list(orders), violations)


BUYERS = [buyer("a", copies=2), buyer("b"), buyer("c", "sold_out"), refused("d")]
BOOKS = booked(order("a"), order("b", decided=2.0), order("c", "sold_out"))


def test_a_clean_sale_is_clean() -> None:
    verdict = judge(BUYERS, BOOKS)
    assert verdict["wrong"] == []
    assert (verdict["units"], verdict["sold"], verdict["accepted"], verdict["final"]) == (2, 2, 3, 3)
    assert (verdict["duplicates_sent"], verdict["orders_made_from_duplicates"]) == (1, 0)
    assert (verdict["sold_out_at_checkout"], verdict["refused_otherwise"]) == (1, {})
    assert verdict["seconds_to_sell_out"] == 1.5
    assert verdict["accept_seconds"] == {"p50": 0.01, "p99": 0.01}
    assert verdict["decision_seconds"] == {"p50": 0.5, "p99": 1.5}


@pytest.mark.parametrize(
    ("buyers", "books", "sentence"),
    [
        (BUYERS, replace(BOOKS, sold=3), "3 of 2 units were sold"),
        (BUYERS, replace(BOOKS, sold=1, available={"TEE": 1}), "1 units are left that a waiting order could have had"),
        ([buyer("a", None)], booked(order("a", "accepted")), "1 accepted orders are not final"),
        (BUYERS, booked(order("a"), order("b")), "an order that was accepted is not in the books"),
        (BUYERS, booked(*BOOKS.orders, {**order("a"), "order_id": "id-other"}), "1 orders were made from duplicates"),
        ([replace(buyer("a"), order_ids={"id-a", "x"})], booked(order("a")), "1 orders were made from duplicates"),
        ([buyer("a", "sold_out")], booked(order("a")), "a buyer was told something else than the books say"),
        ([buyer("a", None)], booked(order("a")), "a buyer never got a final answer"),
        (BUYERS, replace(BOOKS, violations=4), "the audit found 4 violations"),
        ([refused("a", "no-answer")], booked(sold=0), "sound orders were refused: {'no-answer': 1}"),
        ([refused("a", "drop-not-found")], booked(sold=0), "sound orders were refused: {'drop-not-found': 1}"),
        (
            [replace(buyer("a"), refusals=["idempotency-key-reused"])],
            booked(order("a")),
            "sound orders were refused: {'idempotency-key-reused': 1}",
        ),
    ],
)
def test_every_broken_promise_is_found(buyers: list[Buyer], books: Booked, sentence: str) -> None:
    assert sentence in judge(buyers, books)["wrong"]


def test_a_unit_that_no_waiting_order_would_have_fitted_may_be_left() -> None:
    books = booked(order("a"), order("c", "sold_out", quantity=2), sold=1)
    assert judge([buyer("a"), buyer("c", "sold_out")], books)["wrong"] == []


def test_a_drop_that_did_not_sell_out_has_no_time_to_sell_out() -> None:
    assert judge([buyer("a")], booked(order("a"), sold=1))["seconds_to_sell_out"] is None


def test_a_drop_that_others_had_bought_out_has_none_either() -> None:
    assert judge([refused("a")], booked())["seconds_to_sell_out"] is None
    assert judge([refused("a")], booked())["accept_seconds"] is None


def test_one_seed_draws_the_same_buyers_and_each_run_its_own_keys() -> None:
    plan = Plan("run-1", "drop", ("A", "B"), buyers=50, duplicates=0.5, max_quantity=3, connections=1, seed=7)
    first, again = draw_buyers(plan), draw_buyers(replace(plan, run="run-2"))
    assert draw_buyers(plan) == first
    assert [(b.body["items"], b.copies) for b in first] == [(b.body["items"], b.copies) for b in again]
    assert not {b.key for b in first} & {b.key for b in again}
    assert {b.copies for b in first} == {1, 2}
