"""The errors of the Stripe stand-in: Stripe's statuses, types and codes, in words of our own."""

from __future__ import annotations

from typing import Any

from local.stripe_objects import PaymentIntent, doc_url


class StripeError(Exception):
    """An answer that is an error: its status, the fields of its body, and the payment that it is about."""

    def __init__(
        self, status: int, fields: dict[str, Any], payment_intent: PaymentIntent | None = None, **headers: str
    ) -> None:
        super().__init__(fields["message"])
        self.status, self.fields, self.payment_intent = status, fields, payment_intent
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def render(self, _expand: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The body."""
        about = {"payment_intent": self.payment_intent.render()} if self.payment_intent else {}
        return {"error": {**self.fields, **about}}


def invalid(message: str, code: str | None = None, param: str | None = None, status: int = 400) -> StripeError:
    """A request that asks for something impossible."""
    fields = {"type": "invalid_request_error", "message": message}
    fields |= {"code": code, "doc_url": doc_url(code)} if code else {}
    return StripeError(status, fields | ({"param": param} if param else {}))


def no_such(kind: str, identity: str, param: str, status: int = 400) -> StripeError:
    """An id that nothing has; 404 if it is the path's."""
    return invalid(f"No such {kind}: '{identity}'", "resource_missing", param, status)


def unexpected_state(payment_intent: PaymentIntent, message: str) -> StripeError:
    """A payment that has gone too far for this, or not far enough."""
    error = invalid(message, "payment_intent_unexpected_state")
    error.payment_intent = payment_intent
    return error


def declined(payment_intent: PaymentIntent) -> StripeError:
    """The bank refused the payment's last attempt."""
    assert payment_intent.failure is not None
    return StripeError(402, payment_intent.failure.render(), payment_intent)


def unauthorized(message: str) -> StripeError:
    return StripeError(
        401, {"type": "invalid_request_error", "message": message}, WWW_Authenticate='Basic realm="Stripe"'
    )


def rate_limited(reason: str) -> StripeError:
    """Too many requests; `reason` is what Stripe's header says (endpoint-rate, global-rate)."""
    fields = invalid("Too many requests in this second; send fewer, with growing pauses.", "rate_limit").fields
    return StripeError(429, fields, Stripe_Rate_Limited_Reason=reason)


def lock_timeout() -> StripeError:
    """Another request works on the same object; no rate limit, though the status is the same."""
    fields = invalid("Another request is working on this object; try again soon.", "lock_timeout").fields
    return StripeError(429, fields, Stripe_Should_Retry="true")


def key_in_use(key: str) -> StripeError:
    """The first request under this idempotency key is still under way."""
    message = f"Another request with the idempotency key '{key}' is still under way; try again when it is done."
    return invalid(message, "idempotency_key_in_use", status=409)


def key_reused(key: str, what: str) -> StripeError:
    """The idempotency key belongs to another request."""
    message = f"The idempotency key '{key}' was first used {what}; use another key for another request."
    return StripeError(400, {"type": "idempotency_error", "message": message})


def server_error() -> StripeError:
    """Stripe's own failure. Its clients needn't try again under the same key: they would only be told the same."""
    return StripeError(500, {"type": "api_error", "message": "Something went wrong here."}, Stripe_Should_Retry="false")


class Full(StripeError):
    """The stand-in holds as much as it may. It refuses rather than forgets: tests judge by what it remembers."""

    def __init__(self, message: str) -> None:
        super().__init__(503, {"type": "api_error", "message": message}, Stripe_Should_Retry="false")
