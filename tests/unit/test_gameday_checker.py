"""The game day's checker finds each kind of broken promise in small books, and only that; in sound ones, nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from loadtest.gameday.checker.check import KINDS, check
from loadtest.gameday.checker.records import Answer, Entry, Event, Finding, Item, Movement, Order, Records, Sale

DROP = "drop"
PRICE = 500
REQUEST = {"bought": 2, "refused": 2, "late": 1, "after": 1, "returned": 1}  # by key: units of M


def sound() -> Records:
    """Three units: two are bought, the third is held twice and comes back; meanwhile two buyers find too little."""
    told = {
        "bought": [("accepted", 11, 12), ("reserved", 13, 14), ("confirmed", 15, 16)],
        "refused": [("sold_out", 12, 13)],
        "late": [("reserved", 14, 15), ("expired", 20, 21)],
        "after": [],
        "returned": [("expired", 31, 32), ("refunded", 33, 34)],
    }
    answers = [Answer(10, 11, "checkout", (DROP, key), 202, key, "accepted") for key in REQUEST]
    for key, sequence in told.items():
        answers += [Answer(began, ended, "status", (DROP, key), 200, key, state) for state, began, ended in sequence]
    events = [
        *story("bought", accepted=10, reserved=11, confirmed=12),
        *story("refused", accepted=10, sold_out=11.5),
        *story("late", accepted=10, reserved=13, expired=20),
        *story("after", accepted=10, sold_out=13.5),
        *story("returned", accepted=20, reserved=21, expired=30, refunded=31),
    ]
    ledger = [("stock", 3, 1), ("reserve", 2, 11), ("sell", 2, 12), ("reserve", 1, 13), ("release", 1, 20)]
    ledger += [("reserve", 1, 21), ("release", 1, 30)]
    return Records(
        sales={DROP: Sale("USD", {"M": 3}, {"M": PRICE})},
        wanted={(DROP, key): {"M": quantity} for key, quantity in REQUEST.items()},
        answers=answers,
        orders=[
            made("bought", "confirmed", 3),
            made("refused", "sold_out", 2),
            made("late", "expired", 3),
            made("after", "sold_out", 2),
            made("returned", "refunded", 4),
        ],
        ledger=[Entry(DROP, "M", kind, quantity, at) for kind, quantity, at in ledger],
        items=[Item(DROP, "M", 3, 0, 2)],
        movements=[capture("bought", 1000), capture("returned", 500), refund("returned", 500)],
        events=events,
        delivered=[replace(event, body=f"{event.type} of {event.order_id}") for event in [*events, *events[:2]]],
    )


def story(order_id: str, **moments: float) -> list[Event]:
    return [Event(order_id, seq, f"order.{state}", at) for seq, (state, at) in enumerate(moments.items(), 1)]


def made(key: str, status: str, events: int, order_id: str = "") -> Order:
    return Order(order_id or key, (DROP, key), status, {"M": REQUEST[key]}, events)


def capture(order_id: str, amount: int, currency: str = "usd") -> Movement:
    return Movement("capture", order_id, amount, currency, 12)


def refund(order_id: str, amount: int) -> Movement:
    return Movement("refund", order_id, amount, "usd", 31)


def tell(key: str, state: str, began: float, ended: float) -> Answer:
    return Answer(began, ended, "status", (DROP, key), 200, key, state)


def changed(records: Records, key: str, **fields: object) -> list[Order]:
    return [replace(order, **fields) if order.id == key else order for order in records.orders]  # type: ignore[arg-type]


def without(records: Records, key: str, call: str) -> list[Answer]:
    return [answer for answer in records.answers if answer.key[1] != key or answer.call != call]


def replaced_events(records: Records, order_id: str, new: list[Event]) -> Records:
    """Another story of one order, written and delivered."""
    sent = [replace(event, body="new") for event in new]
    return replace(
        records,
        events=[event for event in records.events if event.order_id != order_id] + new,
        delivered=[event for event in records.delivered if event.order_id != order_id] + sent,
    )


def oversell(records: Records) -> Records:
    """The one who was refused got two units that were not there, and paid for them; the ledger says nothing of it."""
    sold = replaced_events(records, "refused", story("refused", accepted=10, reserved=11.5, confirmed=12))
    return replace(
        sold,
        answers=without(records, "refused", "status"),
        orders=changed(records, "refused", status="confirmed", event_seq=3),
        items=[Item(DROP, "M", 3, 0, 4)],
        movements=[*records.movements, capture("refused", 1000)],
    )


def oversell_for_a_moment(records: Records) -> Records:
    """Two units more than there were, and back again before anybody looked."""
    extra = [Entry(DROP, "M", "reserve", 2, 40), Entry(DROP, "M", "release", 2, 41)]
    return replace(records, ledger=[*records.ledger, *extra])


def withhold(records: Records) -> Records:
    """Whoever was refused had asked for one unit, and one was free."""
    return replace(
        records,
        wanted={**records.wanted, (DROP, "refused"): {"M": 1}},
        orders=changed(records, "refused", lines={"M": 1}),
    )


def forget_an_end(records: Records) -> Records:
    """An order that is held for ever, and whose buyer is told so."""
    held = replaced_events(records, "late", story("late", accepted=10, reserved=13))
    return replace(
        held,
        answers=[answer for answer in records.answers if (answer.key[1], answer.status) != ("late", "expired")],
        orders=changed(records, "late", status="reserved", event_seq=2),
        ledger=[entry for entry in records.ledger if entry.at <= 13],
        items=[Item(DROP, "M", 3, 1, 2)],
    )


def lose(records: Records) -> Records:
    """A 202 for an order that is nowhere."""
    lost = Answer(10, 11, "checkout", (DROP, "lost"), 202, "lost", "accepted")
    return replace(records, answers=[*records.answers, lost])


def double(records: Records) -> Records:
    """A second order under a key, refused like any other."""
    second = replaced_events(records, "second", story("second", accepted=10, sold_out=11.5))
    return replace(second, orders=[*records.orders, made("refused", "sold_out", 2, "second")])


def repeat_with(body: str) -> Callable[[Records], Records]:
    def change(records: Records) -> Records:
        return replace(records, delivered=[*records.delivered, replace(records.delivered[0], body=body)])

    return change


def keep(records: Records, **fields: object) -> Records:
    return replace(records, **fields)  # type: ignore[arg-type]


BREAKS: dict[str, tuple[str, Callable[[Records], Records]]] = {
    "sold twice": ("oversold", oversell),
    "sold twice for a moment": ("oversold", oversell_for_a_moment),
    "refused a free unit": ("unsold", withhold),
    "held by nobody": ("unsold", lambda r: keep(r, items=[Item(DROP, "M", 3, 1, 2)])),
    "counted wrongly": ("miscounted", lambda r: keep(r, items=[Item(DROP, "M", 3, 0, 1)])),
    "stock that nobody brought": ("miscounted", lambda r: keep(r, items=[Item(DROP, "M", 4, 0, 2)])),
    "item gone": ("miscounted", lambda r: keep(r, items=[])),
    "never ended": ("not_final", forget_an_end),
    "lost": ("not_final", lose),
    "never answered": (
        "no_answer",
        lambda r: keep(r, answers=[*r.answers, Answer(1, 2, "checkout", (DROP, "mute"), 503)]),
    ),
    "denied": ("told_unknown", lambda r: keep(r, answers=[*r.answers, Answer(1, 2, "status", (DROP, "late"), 404)])),
    "refused once more": (
        "told_unknown",
        lambda r: keep(r, answers=[*r.answers, Answer(22, 23, "checkout", (DROP, "late"), 409, None, "sold-out")]),
    ),
    "told confirmed": ("told_confirmed", lambda r: keep(r, answers=[*r.answers, tell("late", "confirmed", 16, 17)])),
    "back": ("went_backwards", lambda r: keep(r, answers=[*r.answers, tell("late", "reserved", 22, 23)])),
    "back in the end": ("went_backwards", lambda r: keep(r, answers=[*r.answers, tell("after", "reserved", 14, 15)])),
    "another order than asked for": ("order_differs", lambda r: keep(r, orders=changed(r, "late", lines={"M": 2}))),
    "two orders": ("two_orders", double),
    "charged twice": ("charge_too_many", lambda r: keep(r, movements=[*r.movements, capture("bought", 1000)])),
    "charged for nothing": ("charge_too_many", lambda r: keep(r, movements=[*r.movements, capture("late", 500)])),
    "nobody's charge": ("charge_too_many", lambda r: keep(r, movements=[*r.movements, capture("nobody", 500)])),
    "never charged": ("charge_missing", lambda r: keep(r, movements=r.movements[1:])),
    "charged too little": (
        "charge_wrong",
        lambda r: keep(r, movements=[capture("bought", 999), *r.movements[1:]]),
    ),
    "charged in another currency": (
        "charge_wrong",
        lambda r: keep(r, movements=[capture("bought", 1000, "jpy"), *r.movements[1:]]),
    ),
    "never refunded": ("charge_wrong", lambda r: keep(r, movements=r.movements[:2])),
    "refunded for nothing": ("charge_wrong", lambda r: keep(r, movements=[*r.movements, refund("bought", 1)])),
    "event not written": ("event_missing", lambda r: keep(r, events=r.events[1:])),
    "event numbers with a gap": (
        "event_missing",
        lambda r: replaced_events(
            r, "late", [replace(e, seq=e.seq + (e.seq > 2)) for e in r.events if e.order_id == "late"]
        ),
    ),
    "events that lead elsewhere": (
        "event_missing",
        lambda r: replaced_events(r, "late", story("late", accepted=10, reserved=13, declined=20)),
    ),
    "event not delivered": (
        "event_missing",
        lambda r: keep(r, delivered=[e for e in r.delivered if (e.order_id, e.seq) != ("late", 2)]),
    ),
    "event with two contents": ("event_differs", repeat_with("something else")),
    "event of another type": (
        "event_differs",
        lambda r: keep(
            r,
            delivered=[replace(e, type="order.declined") if e.seq == 3 else e for e in r.delivered][:3]
            + list(r.delivered[3:]),
        ),
    ),
    "event of no order": (
        "event_differs",
        lambda r: keep(r, delivered=[*r.delivered, Event("nobody", 1, "x", 1, "x")]),
    ),
    "events out of order": (
        "event_order",
        lambda r: keep(r, delivered=[r.delivered[1], r.delivered[0], *r.delivered[2:]]),
    ),
}


def test_sound_books_are_clean() -> None:
    assert check(sound()) == []


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_found_and_nothing_else(name: str) -> None:
    kind, break_it = BREAKS[name]
    found: list[Finding] = check(break_it(sound()))
    assert [finding.kind for finding in found] == [kind], found


def test_there_is_a_broken_book_for_every_kind_of_finding() -> None:
    assert {kind for kind, _ in BREAKS.values()} == set(KINDS)


def test_answers_that_cross_on_their_way_are_not_taken_for_a_step_back() -> None:
    crossing = [tell("late", "reserved", 14.5, 30), tell("late", "accepted", 13, 22)]
    assert check(replace(sound(), answers=[*sound().answers, *crossing])) == []


def test_whoever_is_refused_before_his_order_is_known_to_be_decided_may_have_come_before_its_row() -> None:
    early = Answer(14.5, 15, "checkout", (DROP, "late"), 409, None, "sold-out")
    assert check(replace(sound(), answers=[*sound().answers, early])) == []


def test_the_checker_shares_no_code_with_the_engine() -> None:
    code = (
        "import sys, loadtest.gameday.checker.check, loadtest.gameday.checker.collect;"
        "print([n for n in sys.modules if n.split('.')[0] in ('common', 'cli', 'local', 'migrations', 'functions')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
