"""What the SQL functions for payments promise, one call after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from tests.race.books import Books, Payment, Refund

LATER_SECONDS = 100_000  # than any test lives


@dataclass(frozen=True)
class Fact:
    """What a provider says of a payment: one entry of a batch for settle_payments."""

    order_id: str
    outcome: str
    ref: str | None
    attempt: int
    captured: int
    reason: str
    is_later: bool

    def entry(self) -> dict[str, Any]:
        return {
            "order_id": self.order_id,
            "outcome": self.outcome,
            "provider_ref": self.ref,
            "attempt": self.attempt,
            "captured_minor": self.captured,
            "client_secret": "secret",
            "reason": self.reason,
            "retry_seconds": LATER_SECONDS if self.is_later else 0,
            "error": "no answer",
        }


@dataclass(frozen=True)
class RefundFact:
    """What a provider says of a refund: one entry of a batch for settle_refunds."""

    refund_id: str
    outcome: str
    attempt: int
    is_later: bool

    def entry(self) -> dict[str, Any]:
        return {
            "refund_id": self.refund_id,
            "outcome": self.outcome,
            "attempt": self.attempt,
            "provider_ref": f"re-{self.refund_id}",
            "retry_seconds": LATER_SECONDS if self.is_later else 0,
            "error": "no answer",
        }


@dataclass(frozen=True)
class Pace:
    """How claim_payments is asked. A fast pace fills the bucket each time; a short lease is over at once."""

    burst: int
    is_fast: bool
    only_started: bool
    is_short: bool

    def bounds(self) -> dict[str, Any]:
        return {
            "limit": 100,
            "pace": 1e12 if self.is_fast else 0,
            "burst": self.burst,
            "lease_seconds": 0 if self.is_short else LATER_SECONDS,
            "only_started": self.only_started,
        }


class Payments(Books):
    """Each SQL function for payments as a method that answers as the function does."""

    def due_payments(self, only_started: bool) -> list[str]:
        return [one for one, p in self.payments.items() if p.is_due and (p.attempt or not only_started)]

    def claim_payments(self, pace: Pace, among: Collection[str] | None) -> dict[str, Any]:
        """By the pace; of what is due only those `among` these, if they are given."""
        tokens = pace.burst if pace.is_fast else min(pace.burst, self.tokens)
        due = [one for one in self.due_payments(pace.only_started) if among is None or one in among]
        claimed = [self._claim(one, pace.is_short) for one in due[:tokens]]
        self.tokens = tokens - len(claimed)
        return {"claimed": claimed, "more": bool(self.due_payments(pace.only_started))}

    def claim_named_payments(self, ids: Collection[str], *, is_short: bool) -> dict[str, Any]:
        chosen = [one for one, p in self.payments.items() if one in ids and (p.is_due or p.state == "action_required")]
        return {
            "claimed": [self._claim(one, is_short) for one in chosen],
            "more": bool(self.due_payments(only_started=False)),
        }

    def _claim(self, one: str, is_short: bool) -> list[Any]:
        payment = self.payments[one]
        payment.state = "claimed" if payment.state == "due" else payment.state
        payment.attempt, payment.is_due = payment.attempt + 1, is_short
        if payment.attempt == 1:
            self.orders[one].is_late = False
        return [one, payment.attempt, payment.ref, payment.ending, payment.amount]

    def settle_payments(self, facts: Iterable[Fact]) -> list[tuple[str, str | None]]:
        """The outcome of each, and the reference of the order's payment."""
        verdicts: list[tuple[str, str | None]] = []
        for fact in facts:
            payment = self.payments.get(fact.order_id)
            if payment is None:
                verdicts.append(("unknown_payment", None))
            else:
                verdict = self._settle(fact, payment) or self.orders[fact.order_id].status
                verdicts.append((verdict, payment.ref))
        return verdicts

    def _settle(self, fact: Fact, payment: Payment) -> str | None:
        found, one = self.orders[fact.order_id], fact.order_id
        if fact.ref != payment.ref and fact.outcome not in ("created", "in_doubt"):
            return "unknown_payment"
        if fact.outcome == "captured":
            return self._capture(fact, payment)
        if fact.outcome == "created" and (not found.is_held or payment.ending):
            return "over"
        if not found.is_held:
            return None
        if fact.outcome == "created":
            payment.ref = payment.ref or fact.ref
        elif fact.outcome == "in_doubt":
            if fact.attempt == payment.attempt:
                payment.is_due = payment.is_due or not fact.is_later
        elif fact.outcome == "action_required":
            payment.state, payment.secret = "action_required", "secret"
            payment.is_due = not fact.is_later or payment.ending is not None
            if found.status == "reserved":
                found.is_late = False
                self.move_order(one, "action_required", None)
        else:
            payment.state, payment.is_due, payment.secret = fact.outcome, None, None
            if fact.outcome == "declined":
                self.move_order(one, "declined", fact.reason)
            else:
                after = "expired" if payment.ending == "hold_expired" else "cancelled"
                self.move_order(one, after, payment.ending or "operator")
        return None

    def _capture(self, fact: Fact, payment: Payment) -> str | None:
        if fact.captured != payment.amount:
            return "wrong_amount"
        if payment.captured:
            return None
        payment.state, payment.captured = "captured", payment.amount
        payment.is_due = payment.secret = payment.ending = None
        if self.orders[fact.order_id].is_held:
            self.move_order(fact.order_id, "confirmed", None)
            return None
        self.refunds[fact.order_id] = Refund(fact.order_id, payment.amount, "no_stock")
        return "refund_due"

    def late_orders(self, among: Collection[str] | None = None) -> list[str]:
        late = [one for one, p in self.payments.items() if self.orders[one].is_late and p.ending is None]
        return [one for one in late if among is None or one in among]

    def expire_holds(self, among: Collection[str] | None) -> dict[str, int]:
        late = self.late_orders(among)
        for one in late:
            self.payments[one].ending, self.payments[one].is_due = "hold_expired", True
        return {"expired": len(late)}

    def request_refund(self, refund_id: str, one: str, amount: int | None, restock: bool) -> tuple[str, int, int]:
        """The outcome, the amount, and what can still be refunded."""
        payment = self.payments.get(one)
        gone = sum(f.amount for f in self.refunds_of(one) if f.state != "failed")
        left = payment.captured - gone if payment else 0
        wanted = left if amount is None else amount
        if known := self.refunds.get(refund_id):
            is_same = (known.order_id, amount or known.amount, known.restock) == (one, known.amount, restock)
            return "replayed" if is_same else "conflict", known.amount, left
        if one not in self.orders:
            return "unknown_order", wanted, left
        if left == 0:
            return "nothing_left", wanted, left
        if wanted > left:
            return "too_much", wanted, left
        if restock and wanted < left:
            return "not_all", wanted, left
        self.refunds[refund_id] = Refund(one, wanted, "operator", restock)
        return "recorded", wanted, left - wanted

    def claim_refunds(self, ids: Collection[str] | None, is_short: bool, among: Collection[str] | None) -> list[Any]:
        chosen = [one for one, f in self.refunds.items() if f.is_due]
        for wanted in (ids, among):
            chosen = [one for one in chosen if wanted is None or one in wanted]
        for refund in (self.refunds[one] for one in chosen):
            refund.state, refund.attempt, refund.is_due = "claimed", refund.attempt + 1, is_short
        found = [(one, self.refunds[one]) for one in chosen]
        return [[one, f.order_id, f.attempt, f.key_number, f.amount, self.payments[f.order_id].ref] for one, f in found]

    def settle_refunds(self, facts: Iterable[RefundFact]) -> list[str]:
        return [self._settle_refund(fact) for fact in facts]

    def _settle_refund(self, fact: RefundFact) -> str:
        refund = self.refunds.get(fact.refund_id)
        if refund is None:
            return "unknown_refund"
        if refund.is_due is None:
            return refund.state
        if fact.outcome in ("succeeded", "failed"):
            refund.state, refund.is_due = fact.outcome, None
            if fact.outcome == "succeeded":
                self._pay_back(refund)
        elif fact.attempt == refund.attempt:
            refund.is_due = not fact.is_later
            refund.key_number += fact.outcome == "unmade"
        return refund.state

    def _pay_back(self, refund: Refund) -> None:
        payment, found = self.payments[refund.order_id], self.orders[refund.order_id]
        payment.refunded += refund.amount
        if payment.refunded < payment.captured:
            return
        is_asked_for = any(f.restock for f in self.refunds_of(refund.order_id) if f.state == "succeeded")
        if is_asked_for and found.status == "confirmed":
            for sku, quantity in found.wanted.items.items():
                self.drops[found.wanted.drop_id].items[sku].sold -= quantity
        self.move_order(refund.order_id, "refunded", found.reason or "operator")
