"""The answers to an order that isn't taken, each with a word on what to do next."""

from __future__ import annotations

from datetime import UTC, datetime

from common.models import CheckoutRequest
from common.order_contracts import AcceptVerdict
from common.problems import Problem, retry_after
from common.settings import NOT_OPEN_RETRY_SECONDS_MAX, RETRY_AFTER_SECONDS


def overloaded() -> Problem:
    """More requests wait than an instance may hold."""
    return Problem(
        "overloaded",
        "Send the same request with the same key again after Retry-After seconds.",
        headers=retry_after(RETRY_AFTER_SECONDS),
    )


def unavailable() -> Problem:
    """A part that is needed for the answer is down."""
    return Problem(
        "unavailable",
        "Send the same request again after Retry-After seconds; the same key never makes a second order.",
        headers=retry_after(RETRY_AFTER_SECONDS),
    )


def webhooks_unavailable() -> Problem:
    """A webhook came, and nothing to check it with is configured."""
    return Problem(
        "payments-unavailable",
        "Webhooks are not taken: MERCHDROP_STRIPE_WEBHOOK_SECRET is not set.",
        headers=retry_after(RETRY_AFTER_SECONDS),
    )


def drop_not_found(drop_id: str) -> Problem:
    """No drop has this id."""
    return Problem("drop-not-found", f"There is no drop {drop_id!a}; check drop_id.")


def refusal(request: CheckoutRequest, verdict: AcceptVerdict) -> Problem:
    """The problem that tells the buyer why the database refused his order."""
    match verdict["outcome"]:
        case "conflict":
            return Problem("idempotency-key-reused", "Use a new key for a new order; a retry must be the same request.")
        case "not_open":
            return _not_open(verdict["starts_at"])
        case "closed":
            return Problem("drop-closed", "The drop is over; new orders are not taken.")
        case "paused":
            return Problem(
                "drop-paused",
                "The drop is paused; try again later.",
                headers=retry_after(RETRY_AFTER_SECONDS),
            )
        case "unknown_sku":
            fields = {line.sku: f"items.{n}.sku" for n, line in enumerate(request.items)}
            errors = [{"field": fields[sku], "message": "not in this drop"} for sku in verdict["unknown_skus"]]
            return Problem("unknown-sku", "Take the SKUs that GET /v1/drops lists.", errors=errors)
        case "payment_method_required":
            errors = [{"field": "payment_method", "message": "required when the amount is not 0"}]
            return Problem("invalid-request", "Correct the fields named in errors.", errors=errors)
        case "price_changed":
            return Problem(
                "price-changed",
                "Show the buyer the new amount and ask again.",
                amount_minor=verdict["amount_minor"],
            )
        case "sold_out":
            skus = verdict["sold_out_skus"]
            return Problem("sold-out", "Units may come back; the same request may be sent again later.", skus=skus)
        case "payments_unavailable":
            return Problem(
                "payments-unavailable",
                "Orders above 0 can't be taken: no payment provider is configured.",
                headers=retry_after(RETRY_AFTER_SECONDS),
            )
    return drop_not_found(request.drop_id)


def _not_open(starts_at: str) -> Problem:
    seconds = (datetime.fromisoformat(starts_at) - datetime.now(UTC)).total_seconds()
    return Problem(
        "drop-not-open",
        "Come back when the drop opens, at starts_at.",
        headers=retry_after(min(int(seconds) + 1, NOT_OPEN_RETRY_SECONDS_MAX)),
        starts_at=starts_at,
    )
