"""Hold what the buyers were told against itself and against the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import inf

from loadtest.gameday.checker.records import Answer, Finding, Key, Order, Records
from loadtest.gameday.checker.states import REACHABLE, UNDECIDED

ACCEPTED, NOT_FOUND = 202, 404


def find(records: Records) -> Iterator[Finding]:
    """Orders that got lost or never ended, doubled, or were told otherwise than they are."""
    orders = {order.id: order for order in records.orders}
    yield from _not_final(records, orders)
    yield from _two_orders(records)
    yield from _unanswered(records)
    yield from _denied(records)
    for order in records.orders:
        if order.lines != records.wanted.get(order.key):
            asked = records.wanted.get(order.key, "nothing")
            yield Finding("order_differs", order.id, f"is for {order.lines}; under its key was asked for {asked}")
    told: dict[str, list[Answer]] = defaultdict(list)
    for answer in records.answers:
        if answer.call != "checkout" and answer.order_id and answer.status in REACHABLE:
            told[answer.order_id].append(answer)
    for order_id, answers in told.items():
        if order_id not in orders:
            continue  # an accepted order that isn't there is found above
        order = orders[order_id]
        if order.status != "confirmed" and any(answer.status == "confirmed" for answer in answers):
            yield Finding("told_confirmed", order_id, f"its buyer was told confirmed; it is {order.status}")
        elif text := _backwards([*answers, _last_word(order)]):
            yield Finding("went_backwards", order_id, text)


def _not_final(records: Records, orders: dict[str, Order]) -> Iterator[Finding]:
    accepted = {answer.order_id: answer.key for answer in records.answers if _is_accepted(answer) and answer.order_id}
    for order_id, key in accepted.items():
        if order_id not in orders:
            yield Finding(
                "not_final", order_id, f"key {key[1]} was answered {ACCEPTED}; the database has no such order"
            )
    for order in orders.values():
        if order.status in UNDECIDED:
            yield Finding("not_final", order.id, f"is still {order.status}")


def _two_orders(records: Records) -> Iterator[Finding]:
    ids: dict[Key, set[str]] = defaultdict(set)
    for order in records.orders:
        ids[order.key].add(order.id)
    for answer in records.answers:
        if _is_accepted(answer) and answer.order_id:
            ids[answer.key].add(answer.order_id)
    for key, of_key in ids.items():
        if len(of_key) > 1:
            yield Finding("two_orders", key[1], f"the key has {len(of_key)} orders: {', '.join(sorted(of_key))}")


def _unanswered(records: Records) -> Iterator[Finding]:
    """Keys whose every call failed, to the last: their buyers gave up when the engine had long been whole again."""
    answered = {answer.key for answer in records.answers if answer.call == "checkout" and 0 < answer.http < 500}
    for key in {answer.key for answer in records.answers} - answered:
        yield Finding("no_answer", key[1], "its buyer asked until the end, and was never told yes or no")


def _denied(records: Records) -> Iterator[Finding]:
    """Orders that were told not to exist, and keys that were refused although their orders were decided by then.

    Until it is decided, an order may be in the queue alone, where only those know of it who put it there.
    """
    decided: dict[Key, float] = {}  # when somebody was first told so
    for answer in records.answers:
        if answer.call != "checkout" and answer.status in REACHABLE and answer.status != "accepted":
            decided[answer.key] = min(answer.ended, decided.get(answer.key, inf))
    denied: dict[Key, str] = {}
    for answer in records.answers:
        if answer.call != "checkout" and answer.http == NOT_FOUND:
            denied[answer.key] = f"{NOT_FOUND} was told of it"
        elif answer.call == "checkout" and 400 <= answer.http < 500 and answer.began > decided.get(answer.key, inf):
            denied[answer.key] = f"the same request was answered {answer.http} {answer.status}"
    for key, text in denied.items():
        yield Finding("told_unknown", key[1], f"its order was accepted, and then {text}")


def _backwards(answers: list[Answer]) -> str:
    """How the status went back, if it did: only calls that were over before another one began can tell."""
    over: dict[str, float] = {}  # by status, when it was first told
    answers = sorted(answers, key=lambda answer: answer.ended)
    for later in sorted(answers, key=lambda answer: answer.began):
        while answers and answers[0].ended < later.began:
            earlier = answers.pop(0)
            over.setdefault(str(earlier.status), earlier.ended)
        for status, ended in over.items():
            if later.status not in REACHABLE[status]:
                when = "in the end" if later.began == inf else f"at {later.began:.3f} s"
                return f"was {status} at {ended:.3f} s, and {later.status} {when}"
    return ""


def _last_word(order: Order) -> Answer:
    return Answer(inf, inf, "status", order.key, 200, order.id, order.status)


def _is_accepted(answer: Answer) -> bool:
    return answer.call == "checkout" and answer.http == ACCEPTED
