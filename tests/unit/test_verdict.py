"""A sale is judged clean when it was, and every broken promise is found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from cli.buyers import CHALLENGED_CARD, DECLINED_CARDS, Buyer, Plan, draw_buyers
from cli.verdict import Booked, judge


def buyer(name: str, status: str | None = "confirmed", copies: int = 1) -> Buyer:
    return Buyer(f"run-{name}", {}, copies, order_ids={f"id-{name}"}, accept_seconds=0.01, status=status)


def refused(name: str, problem: str = "sold-out") -> Buyer:
    return Buyer(f"run-{name}", {}, 1, refusals=[problem])


def order(
    name: str, status: str = "confirmed", quantity: int = 1, decided: float = 1.0, updated: float | None = None
) -> dict[str, Any]:
    return {
        "order_id": f"id-{name}",
        "idempotency_key": f"run-{name}",
        "status": status,
        "items": [{"sku": "TEE", "quantity": quantity}],
        "amount_minor": 0,
        "currency": "USD",
        "payment": None,
        "accepted_epoch": 0.5,
        "decided_epoch": decided,
        "updated_epoch": decided if updated is None else updated,
    }


def paid(name: str, status: str = "confirmed", captured: int = 3500, refunded: int = 0) -> dict[str, Any]:
    payment = {"captured_minor": captured, "refunded_minor": refunded}
    return {**order(name, status, updated=4.0), "amount_minor": 3500, "payment": payment}


def moved(name: str, kind: str = "capture", amount: int = 3500, currency: str = "usd") -> dict[str, Any]:
    return {"kind": kind, "amount": amount, "currency": currency, "metadata": {"order_id": f"id-{name}"}}


def line(epoch: float, kind: str, quantity: int = 1, name: str | None = None) -> dict[str, Any]:
    order_id = None if name is None else f"id-{name}"
    return {"epoch": epoch, "order_id": order_id, "sku": "TEE", "kind": kind, "quantity": quantity}


def booked(*orders: dict[str, Any], units: int = 2, sold: int = 2, violations: int = 0, ledger: Any = ()) -> Booked:
    return Booked(units, sold, list(orders), violations, list(ledger))


BUYERS = [buyer("a", copies=2), buyer("b"), buyer("c", "sold_out"), refused("d")]
LEDGER = [
    line(0, "stock", 2),
    *(line(at, kind, 1, n) for n, at in (("a", 1.0), ("b", 2.0)) for kind in ("reserve", "sell")),
]
BOOKS = booked(order("a"), order("b", decided=2.0), order("c", "sold_out", decided=3.0), ledger=LEDGER)


def test_a_clean_sale_is_clean() -> None:
    verdict = judge(BUYERS, BOOKS)
    assert verdict["wrong"] == []
    assert (verdict["units"], verdict["sold"], verdict["accepted"], verdict["final"]) == (2, 2, 3, 3)
    assert verdict["orders"] == {"confirmed": 2, "sold_out": 1}
    assert (verdict["duplicates_sent"], verdict["orders_made_from_duplicates"]) == (1, 0)
    assert (verdict["sold_out_at_checkout"], verdict["refused_otherwise"]) == (1, {})
    assert verdict["seconds_to_sell_out"] == 1.5
    assert verdict["accept_seconds"] == {"p50": 0.01, "p99": 0.01}
    assert verdict["decision_seconds"] == {"p50": 1.5, "p99": 2.5}
    assert verdict["payment_seconds"] is None


@pytest.mark.parametrize(
    ("buyers", "books", "sentence"),
    [
        (BUYERS, replace(BOOKS, sold=3), "3 of 2 units were sold"),
        (
            BUYERS,
            replace(BOOKS, ledger=[line(0, "stock", 2), line(1.0, "reserve", 1, "a")]),
            "1 units were free when a waiting order was told that they were sold out",
        ),
        (BUYERS, replace(BOOKS, ledger=LEDGER[:2]), "1 units are held for orders that are over"),
        ([buyer("a", None)], booked(order("a", "accepted")), "1 accepted orders are not final"),
        (BUYERS, booked(order("a"), order("b")), "an order that was accepted is not in the books"),
        (BUYERS, booked(*BOOKS.orders, {**order("a"), "order_id": "id-other"}), "1 orders were made from duplicates"),
        ([replace(buyer("a"), order_ids={"id-a", "x"})], booked(order("a")), "1 orders were made from duplicates"),
        ([buyer("a", "sold_out")], booked(order("a")), "a buyer was told something else than the books say"),
        ([buyer("a")], booked(order("a", "declined")), "a buyer was told something else than the books say"),
        (
            [buyer("a", "sold_out")],
            booked(order("a", "refunded")),
            "a buyer was told something else than the books say",
        ),
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
    ledger = [line(0, "stock", 2), line(1.0, "reserve", 1, "a"), line(1.0, "sell", 1, "a")]
    books = booked(order("a"), order("c", "sold_out", quantity=2, decided=1.0), sold=1, ledger=ledger)
    assert judge([buyer("a"), buyer("c", "sold_out")], books)["wrong"] == []


@pytest.mark.parametrize(("decided", "unsold"), [(2.9, 0), (3.0, 1), (3.1, 1)])
@pytest.mark.parametrize("kind", ["release", "restock"])
def test_who_was_told_sold_out_before_units_came_back_was_not_wronged(kind: str, decided: float, unsold: int) -> None:
    ledger = [line(0, "stock", 1), line(1.0, "reserve", 1, "a"), line(3.0, kind, 1, "a")]
    if kind == "restock":
        ledger.append(line(1.5, "sell", 1, "a"))
    books = booked(order("a", "refunded"), order("c", "sold_out", decided=decided), sold=0, ledger=ledger)
    verdict = judge([buyer("a", "confirmed"), buyer("c", "sold_out")], books)
    assert verdict["unsold_while_buyers_waited"] == unsold
    assert len(verdict["wrong"]) == unsold


@pytest.mark.parametrize("told", ["confirmed", "declined", "expired", "cancelled"])
def test_money_may_go_back_after_the_buyer_was_told(told: str) -> None:
    books = booked(paid("a", "refunded", refunded=3500))
    assert judge([buyer("a", told)], books, [moved("a"), moved("a", "refund")])["wrong"] == []


def test_a_paid_sale_is_clean() -> None:
    orders = [paid("a"), paid("b", "declined", captured=0), paid("c", refunded=500)]
    movements = [moved("a"), moved("c"), moved("c", "refund", 500), moved("somebody else", amount=1)]
    verdict = judge([buyer("a"), buyer("b", "declined"), buyer("c")], booked(*orders), movements)
    assert verdict["wrong"] == []
    assert verdict["captured_minor"] == {"provider": 7000, "books": 7000}
    assert verdict["refunded_minor"] == {"provider": 500, "books": 500}
    assert verdict["decision_seconds"] == {"p50": 0.5, "p99": 0.5}
    assert verdict["payment_seconds"] == {"p50": 3.0, "p99": 3.0}


def test_without_the_providers_list_the_books_are_judged_alone() -> None:
    verdict = judge([buyer("a")], booked(paid("a")))
    assert (verdict["wrong"], verdict["captured_minor"]) == ([], {"books": 3500})


@pytest.mark.parametrize(
    ("booked_order", "movements", "sentence"),
    [
        (paid("a"), [moved("a"), moved("a")], "1 orders were charged more than once"),
        (paid("a"), [moved("a", amount=3400)], "1 orders were charged another amount than theirs"),
        (paid("a"), [moved("a", currency="eur")], "1 orders were charged another amount than theirs"),
        (order("a"), [moved("a")], "1 orders were charged another amount than theirs"),
        (paid("a"), [], "1 orders are confirmed without any money"),
        (paid("a"), [moved("a"), moved("a", "refund")], "1 orders are confirmed without any money"),
        (paid("a", "expired"), [moved("a")], "1 orders are not confirmed, and their money didn't come to nothing"),
        (paid("a", "sold_out"), [moved("a")], "1 orders are not confirmed, and their money didn't come to nothing"),
        (paid("a", "refunded"), [moved("a")], "1 orders are not confirmed, and their money didn't come to nothing"),
        (paid("a", captured=0), [moved("a")], "the provider captured 3500, the books say 0"),
        (paid("a"), [moved("a"), moved("a", "refund", 100)], "the provider refunded 100, the books say 0"),
    ],
)
def test_all_money_that_went_wrong_is_found(
    booked_order: dict[str, Any], movements: list[dict[str, Any]], sentence: str
) -> None:
    assert sentence in judge([buyer("a", booked_order["status"])], booked(booked_order), movements)["wrong"]


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


def test_where_there_is_something_to_pay_buyers_bring_cards() -> None:
    plan = Plan(
        "run-1", "drop", ("A",), 400, 0.0, 1, 1, seed=7, is_paid=True, declined=0.25, challenged=0.25, hold_seconds=20
    )
    cards = Counter(b.body["payment_method"] for b in draw_buyers(plan))
    assert sum(cards[card] for card in DECLINED_CARDS) == pytest.approx(100, abs=30)
    assert cards[CHALLENGED_CARD] == pytest.approx(100, abs=30)
    assert all(cards[card] for card in DECLINED_CARDS)
    answers = {b.answer for b in draw_buyers(plan) if b.body["payment_method"] == CHALLENGED_CARD}
    assert answers == {"succeed", "fail", "abandon"}
    assert draw_buyers(plan) == draw_buyers(plan)
    assert all("payment_method" not in b.body for b in draw_buyers(replace(plan, is_paid=False)))
