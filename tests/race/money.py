"""What befalls payments in a history: drawn without knowing the history, and made into calls where it is known."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from hypothesis import strategies as st

from tests.conftest import order_id
from tests.race.calls import (
    Call,
    claim,
    claim_named,
    claim_refunds,
    expire,
    release,
    request_refund,
    settle,
    settle_refunds,
)
from tests.race.model import Model
from tests.race.payments_model import Fact, Pace, RefundFact

REFUND_IDS = [str(UUID(int=n)) for n in range(1, 13)]
NEVER_SEEN = 17
picks = st.integers(0, 99)
mostly = st.sampled_from([True, True, True, True, False])


@dataclass(frozen=True)
class Told:
    """A provider's word on a payment; what is not `right` is of another payment, too much, or late."""

    pick: int
    outcome: str
    is_right_ref: bool
    is_right_amount: bool
    is_latest: bool
    reason: str
    is_later: bool


@dataclass(frozen=True)
class ToldOfRefund:
    """A provider's word on a refund."""

    pick: int
    outcome: str
    is_latest: bool
    is_later: bool


@dataclass(frozen=True)
class Asked:
    """What an operator wants back: all that is left, or a share of it."""

    pick: int
    refund: int
    amount: str
    restock: bool


@dataclass(frozen=True)
class Named:
    """Payments, refunds or orders by their ids."""

    what: str
    picks: list[int]
    is_short: bool


Move = Pace | Named | list[Told] | list[ToldOfRefund] | Asked | str

OUTCOMES = ["created", "captured", "captured", "action_required", "declined", "cancelled", "in_doubt"]
told = st.builds(
    Told,
    pick=picks,
    outcome=st.sampled_from(OUTCOMES),
    is_right_ref=mostly,
    is_right_amount=mostly,
    is_latest=mostly,
    reason=st.sampled_from(["card_declined", "insufficient_funds"]),
    is_later=st.booleans(),
)
told_of_refund = st.builds(
    ToldOfRefund,
    pick=picks,
    outcome=st.sampled_from(["succeeded", "succeeded", "failed", "in_doubt", "unmade"]),
    is_latest=mostly,
    is_later=st.booleans(),
)
moves: st.SearchStrategy[Move] = st.one_of(
    st.lists(told, min_size=1, max_size=4),
    st.lists(told, min_size=1, max_size=4),
    st.builds(Pace, st.integers(0, 6), mostly, mostly.map(lambda most: not most), st.booleans()),
    st.builds(
        Named,
        st.sampled_from(["payments", "refunds", "orders"]),
        st.lists(picks, min_size=1, max_size=3),
        st.booleans(),
    ),
    st.just("expire"),
    st.builds(Asked, picks, picks, st.sampled_from(["all", "all", "half", "half", "one", "too much"]), st.booleans()),
    st.lists(told_of_refund, min_size=1, max_size=3),
    st.sampled_from(["claim refunds shortly", "claim refunds"]),
)


def call_of(move: Move, model: Model) -> Call:
    """The call that a move comes to, as the books are now."""
    match move:
        case Pace():
            return claim(move)
        case Named("payments", which, is_short):
            return claim_named([_payment(pick, model) for pick in which], is_short)
        case Named("orders", which, _):
            return release([_payment(pick, model) for pick in which])
        case Named(_, which, is_short):
            return claim_refunds([_refund(pick, model) for pick in which], is_short)
        case Asked():
            return _refund_request(move, model)
        case "expire":
            return expire()
        case str():
            return claim_refunds(None, move == "claim refunds shortly")
    facts = [_fact(one, model) for one in move if isinstance(one, Told)]
    return (
        settle(facts)
        if facts
        else settle_refunds([_refund_fact(one, model) for one in move if isinstance(one, ToldOfRefund)])
    )


def _fact(told: Told, model: Model) -> Fact:
    one = _payment(told.pick, model)
    payment = model.payments.get(one)
    refs = [f"pi-{one}", f"pi-{one}-other"]
    right = payment.ref if payment and told.outcome != "created" else refs[told.pick % 2]
    amount, attempt = (payment.amount, payment.attempt) if payment else (5, 1)
    return Fact(
        one,
        told.outcome,
        right if told.is_right_ref else next(ref for ref in refs if ref != right),
        attempt - (not told.is_latest),
        amount + (not told.is_right_amount),
        told.reason,
        told.is_later,
    )


def _refund_fact(told: ToldOfRefund, model: Model) -> RefundFact:
    one = _refund(told.pick, model)
    attempt = model.refunds[one].attempt if one in model.refunds else 0
    return RefundFact(one, told.outcome, attempt - (not told.is_latest), told.is_later)


def _refund_request(asked: Asked, model: Model) -> Call:
    one = _one(asked.pick, [one for one, p in model.payments.items() if p.captured > p.refunded], model.payments)
    cost = model.payments[one].amount if one in model.payments else 5
    amount = {"all": None, "half": cost // 2, "one": 1, "too much": cost + 1}[asked.amount]
    return request_refund(REFUND_IDS[asked.refund % len(REFUND_IDS)], one, amount, asked.restock)


def _payment(pick: int, model: Model) -> str:
    """An order's id: two of three whose payments are not over, otherwise any; now and then one that there isn't."""
    return _one(pick, [one for one, p in model.payments.items() if p.is_due is not None], model.payments)


def _refund(pick: int, model: Model) -> str:
    return _one(pick, [one for one, f in model.refunds.items() if f.is_due is not None], model.refunds)


def _one(pick: int, open_ones: list[str], every: Collection[str]) -> str:
    if pick % NEVER_SEEN == 0 or not every:
        return order_id("no-such-key")
    choice = open_ones if pick % 3 and open_ones else list(every)
    return choice[pick // 3 % len(choice)]
