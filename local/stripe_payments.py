"""The life of a payment: what each call makes of it. Nothing here waits or remembers.

requires_payment_method ─▶ requires_confirmation ─▶ requires_action ─▶ succeeded
          ▲                          └──────────────────────┤  (confirmed: charged, or its owner has to authenticate)
          └─────────── declined, or not authenticated ──────┘          canceled: from anywhere but succeeded
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from local.stripe_cards import CARDS, DECLINED, Card
from local.stripe_errors import declined, invalid, no_such, unexpected_state
from local.stripe_money import money
from local.stripe_objects import Charge, Failure, PaymentIntent, Refund, derive
from local.stripe_records import Change, Movement


def create(identity: str, now: float, params: dict[str, Any], is_declined: bool) -> Change:
    """A new payment, confirmed at once if `confirm` says so.

    Raises:
        StripeError: parameters that contradict each other, or a payment method that doesn't exist; nothing was created.
    """
    automatic = params.get("automatic_payment_methods")
    if automatic and "payment_method_types" in params:
        names = "automatic_payment_methods, payment_method_types"
        raise invalid(f"Only one of these parameters can be given: {names}.", "parameters_exclusive")
    if "return_url" in params and not params.get("confirm"):
        raise invalid("return_url can only be given together with confirm=true.", param="return_url")
    # Without a word about methods, Stripe takes what the account has enabled, those that redirect included.
    redirects = None if "payment_method_types" in params else "always"
    if automatic:
        redirects = automatic.get("allow_redirects", "always") if automatic["enabled"] else None
    copied = ("amount", "currency", "description", "receipt_email", "statement_descriptor_suffix")
    payment = PaymentIntent(
        id=identity,
        created=int(now),
        metadata=params.get("metadata", {}),
        capture_method=params.get("capture_method", "automatic_async"),
        redirects=redirects,
        **{name: params[name] for name in copied if name in params},
    )
    if "payment_method" in params:
        payment = _attach(payment, params["payment_method"])
    created = Change(payment, told=(("payment_intent.created", payment),))
    if not params.get("confirm"):
        return created
    confirmed = confirm(payment, now, {"return_url": params.get("return_url")}, is_declined)
    return replace(confirmed, told=created.told + confirmed.told)


def confirm(payment: PaymentIntent, now: float, params: dict[str, Any], is_declined: bool) -> Change:
    """Charge it, or ask its owner to authenticate; `is_declined` is the bank's bad mood.

    Raises:
        StripeError: it is over already, or lacks a payment method or a place to return to; it stays as it was.
    """
    if payment.status == "succeeded":
        raise unexpected_state(payment, "You cannot confirm this PaymentIntent: it has already succeeded.")
    if payment.status == "canceled":
        raise unexpected_state(payment, "You cannot confirm this PaymentIntent: it has a status of canceled.")
    if "payment_method" in params:
        payment = _attach(payment, params["payment_method"])
    if (card := payment.card) is None:
        raise unexpected_state(payment, "You cannot confirm this PaymentIntent: it has no payment method.")
    return_url = params.get("return_url") or payment.return_url
    if payment.redirects == "always" and not return_url:
        raise invalid(
            "This PaymentIntent accepts payment methods that redirect, so a `return_url` is needed; or create it with"
            " `automatic_payment_methods[allow_redirects]` set to `never`."
        )
    email = params.get("receipt_email", payment.receipt_email)
    payment = replace(payment, return_url=return_url, receipt_email=email)
    if CARDS[card].challenge:
        waiting = _next(payment, status="requires_action", failure=None)
        return Change(waiting, told=(("payment_intent.requires_action", waiting),))
    return _charge(payment, now, DECLINED if is_declined else CARDS[card])


def authenticate(payment: PaymentIntent, now: float, succeeded: bool) -> Change:
    """The card's owner has answered the challenge, or failed it."""
    card, method = _method(payment)
    if succeeded:
        change = _charge(payment, now, CARDS[card])
    else:
        message = "The payment method could not be authenticated; choose another one and try again."
        code = "payment_intent_authentication_failure"
        change = _fail(payment, Failure("invalid_request_error", code, message, None, card, method, None))
    return replace(change, error=None)  # nobody waits for an answer


def cancel(payment: PaymentIntent, now: float, params: dict[str, Any]) -> Change:
    """End it, so that nobody can pay it any more.

    Raises:
        StripeError: it has succeeded or is canceled already.
    """
    if payment.status in ("succeeded", "canceled"):
        message = f"You cannot cancel this PaymentIntent: it has a status of {payment.status}."
        raise unexpected_state(payment, message)
    reason = params.get("cancellation_reason")
    canceled = _next(payment, status="canceled", canceled_at=int(now), cancellation_reason=reason)
    return Change(canceled, told=(("payment_intent.canceled", canceled),))


def refund(payment: PaymentIntent, identity: str, now: float, params: dict[str, Any]) -> Change:
    """Give back what is asked for, or what is left; never more than was captured.

    Raises:
        StripeError: nothing was captured, or less than that is left.
    """
    charge = payment.charge
    if payment.status != "succeeded" or charge is None:
        raise invalid(f"This PaymentIntent ({payment.id}) has no successful charge to refund.", param="payment_intent")
    left = payment.amount - charge.amount_refunded
    if left == 0:
        raise invalid(f"Charge {charge.id} has already been refunded.", "charge_already_refunded")
    amount = params.get("amount", left)
    if amount > left:
        asked, available = money(amount, payment.currency), money(left, payment.currency)
        raise invalid(f"Refund amount ({asked}) is greater than the unrefunded amount ({available}).", param="amount")
    metadata, why = params.get("metadata", {}), params.get("reason")
    made = Refund(identity, int(now), amount, payment.currency, payment.id, charge.id, metadata, why)
    refunded = _next(payment, charge=replace(charge, amount_refunded=charge.amount_refunded + amount))
    told = (("charge.refunded", refunded), ("refund.created", made), ("refund.updated", made))
    return Change(refunded, made, _movement(made.id, now, "refund", refunded, amount), told)


def _attach(payment: PaymentIntent, method: str) -> PaymentIntent:
    if method not in CARDS:
        raise no_such("PaymentMethod", method, "payment_method")
    identity = derive("pm", payment.id, payment.version, method)
    return replace(payment, status="requires_confirmation", card=method, payment_method=identity)


def _method(payment: PaymentIntent) -> tuple[str, str]:
    assert payment.card is not None
    assert payment.payment_method is not None
    return payment.card, payment.payment_method


def _charge(payment: PaymentIntent, now: float, card: Card) -> Change:
    name, method = _method(payment)
    charge = Charge(derive("ch", payment.id, payment.version), int(now), "succeeded", name, method)
    if card.code:
        failed = replace(payment, charge=replace(charge, status="failed"))
        why = Failure("card_error", card.code, card.message, card.decline_code, name, method, charge.id)
        return _fail(failed, why)
    paid = _next(payment, status="succeeded", charge=charge, failure=None)
    captured = _movement(charge.id, now, "capture", paid, paid.amount)
    return Change(paid, movement=captured, told=(("payment_intent.succeeded", paid),))


def _fail(payment: PaymentIntent, failure: Failure) -> Change:
    """Back to where it takes another payment method; the answer to whoever confirmed it is the failure."""
    failed = _next(payment, status="requires_payment_method", failure=failure, card=None, payment_method=None)
    return Change(failed, told=(("payment_intent.payment_failed", failed),), error=declined(failed))


def _next(payment: PaymentIntent, **changed: Any) -> PaymentIntent:
    return replace(payment, version=payment.version + 1, **changed)


def _movement(identity: str, now: float, kind: str, payment: PaymentIntent, amount: int) -> Movement:
    return Movement(identity, now, kind, payment.id, amount, payment.currency, payment.metadata)
