"""A drop's payments in our books beside those in the provider's: every difference, and totals of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from common.payments import ProviderPayment

Kind = Literal[
    "unknown_order",  # money there for an order that we don't have
    "captured_twice",  # beside the order's own payment
    "other_payment",  # money there for one of our orders, but not in its payment
    "missing_there",
    "wrong_currency",
    "wrong_amount",
    "captured_there_only",
    "captured_here_only",
    "refunded_differs",
    "open_there",  # could still be paid, although the order is over
]


class OurPayment(TypedDict):
    """A row of shown_payments, as far as it is looked at."""

    order_id: str
    status: str
    provider_ref: str | None
    amount_minor: int
    currency: str
    captured_minor: int
    refunded_minor: int
    refunding_minor: int


@dataclass(frozen=True)
class Difference:
    """Something that both books should agree on."""

    kind: Kind
    order_id: str
    provider_ref: str | None
    text: str


@dataclass(frozen=True)
class Totals:
    """Payments, and the money in them in minor units of the drop's currency."""

    payments: int
    captured_minor: int
    refunded_minor: int

    @property
    def net_minor(self) -> int:
        """What was not given back."""
        return self.captured_minor - self.refunded_minor


@dataclass(frozen=True)
class Comparison:
    """What was found, with the totals of both sides, and of what is under way there.

    `under_way` counts payments here; `idle` those there that are no order's, and never moved money.
    """

    here: Totals
    there: Totals
    under_way: int
    under_way_there: Totals
    idle: int
    differences: list[Difference]


def compare(
    currency: str, before: list[OurPayment], theirs: list[ProviderPayment], after: list[OurPayment]
) -> Comparison:
    """Compare the provider's list with our books as they were before it and after it.

    What moved meanwhile is no difference: only what both of ours disagree with is one.
    """
    lasting = set(differences(after, theirs))
    under_way = {row["provider_ref"]: row for row in after if is_under_way(row)}
    ours_in = [payment for payment in theirs if payment.currency == currency]
    return Comparison(
        here=totals((row["captured_minor"], row["refunded_minor"]) for row in after),
        there=totals((payment.captured_minor, payment.refunded_minor) for payment in ours_in),
        under_way=len([row for row in after if is_under_way(row)]),
        under_way_there=totals((p.captured_minor, p.refunded_minor) for p in ours_in if p.ref in under_way),
        idle=len([payment for payment in strays(after, theirs) if is_idle(payment)]),
        differences=[difference for difference in differences(before, theirs) if difference in lasting],
    )


def totals(payments: Iterable[tuple[int, int]]) -> Totals:
    """The sums of (captured, refunded)."""
    money = list(payments)
    return Totals(len(money), sum(captured for captured, _ in money), sum(refunded for _, refunded in money))


def is_charging(ours: OurPayment) -> bool:
    """Whether the provider may be a step ahead of us with the charge."""
    return ours["status"] in ("reserved", "action_required")


def is_under_way(ours: OurPayment) -> bool:
    """Whether the provider may be a step ahead of us, with the charge or with a refund."""
    return is_charging(ours) or ours["refunding_minor"] > 0


def is_idle(theirs: ProviderPayment) -> bool:
    """Whether it never moved money, and nobody can make it any more: an unconfirmed payment's secret was never told."""
    return theirs.captured_minor == 0 and theirs.state in ("open", "cancelled")


def strays(ours: Iterable[OurPayment], theirs: Iterable[ProviderPayment]) -> list[ProviderPayment]:
    """Their payments that are no order's own."""
    known = {row["provider_ref"] for row in ours}
    return [payment for payment in theirs if payment.ref not in known]


def differences(ours: Sequence[OurPayment], theirs: Sequence[ProviderPayment]) -> list[Difference]:
    """Where the two disagree, leaving out what is under way and may still come to agree."""
    by_ref = {payment.ref: payment for payment in theirs}
    found = [
        Difference(kind, row["order_id"], row["provider_ref"], text)
        for row in ours
        for kind, text in _of_own(row, by_ref.get(row["provider_ref"] or ""))
    ]
    by_order = {row["order_id"]: row for row in ours}
    for payment in strays(ours, theirs):
        if not is_idle(payment):
            row = by_order.get(payment.order_id)
            own = by_ref.get(row["provider_ref"] or "") if row else None
            found.append(Difference(_kind_of_stray(row, own), payment.order_id, payment.ref, _of_stray(payment, row)))
    return found


def _of_own(row: OurPayment, own: ProviderPayment | None) -> Iterator[tuple[Kind, str]]:
    """An order's payment beside the same one there."""
    here, order, refunded = row["captured_minor"], f"the order is {row['status']}", row["refunded_minor"]
    if own is None:
        if row["provider_ref"] is not None or here:
            yield "missing_there", f"the provider does not have the payment; {order}, {here} captured here"
        return
    if own.currency != row["currency"]:
        yield "wrong_currency", f"{own.currency} there, {row['currency']} here"
    if own.amount_minor != row["amount_minor"]:
        yield "wrong_amount", f"a payment of {own.amount_minor} there, of {row['amount_minor']} here"
    if is_charging(row):
        return
    if own.captured_minor and not here:
        yield "captured_there_only", f"{own.captured_minor} captured there, nothing here; {order}"
    elif here and not own.captured_minor:
        yield "captured_here_only", f"{here} captured here, nothing there: the payment is {own.state}"
    elif own.captured_minor != here:
        yield "wrong_amount", f"{own.captured_minor} captured there, {here} here"
    if not refunded <= own.refunded_minor <= refunded + row["refunding_minor"]:
        on_the_way = f" and {row['refunding_minor']} on their way" if row["refunding_minor"] else ""
        yield "refunded_differs", f"{own.refunded_minor} refunded there, {refunded} here{on_the_way}"
    if not here and own.state != "captured" and not is_idle(own):
        yield "open_there", f"the payment is {own.state} there and can still be paid; {order}"


def _kind_of_stray(row: OurPayment | None, own: ProviderPayment | None) -> Kind:
    if row is None:
        return "unknown_order"
    return "captured_twice" if own is not None and own.captured_minor else "other_payment"


def _of_stray(payment: ProviderPayment, row: OurPayment | None) -> str:
    money = f"{payment.captured_minor} captured and {payment.refunded_minor} refunded there"
    if row is None:
        return f"{money}, the payment is {payment.state}; no payment of ours is for this order"
    return (
        f"{money}, the payment is {payment.state}; the order's own payment is {row['provider_ref'] or 'not there yet'}"
    )
