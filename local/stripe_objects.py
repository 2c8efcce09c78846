"""The objects of the Stripe stand-in: what it keeps of each, and how the API shows it.

They never change: a payment that moves on is a new object with the next version. So an answer, an event or a line of
the journal can hold an object as it was at that moment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from local.stripe_cards import CARDS

_UNUSED = (  # what a payment has as well, and the engine never asks for
    "application",
    "application_fee_amount",
    "customer",
    "on_behalf_of",
    "processing",
    "review",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "transfer_data",
    "transfer_group",
)


def derive(prefix: str, *parts: object) -> str:
    """An id made of what the object belongs to: the same requests get the same ids, and with them the same faults."""
    return f"{prefix}_{hashlib.sha256('/'.join(map(str, parts)).encode()).hexdigest()[:24]}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last attempt to pay failed."""

    kind: str
    code: str
    message: str
    decline_code: str | None
    card: str
    payment_method: str
    charge: str | None

    def render(self) -> dict[str, Any]:
        """As `last_payment_error`, and as the error of the request that failed."""
        fields: dict[str, Any] = {
            "type": self.kind,
            "code": self.code,
            "doc_url": doc_url(self.code),
            "message": self.message,
            "payment_method": _payment_method(self.payment_method, self.card),
        }
        fields |= {"decline_code": self.decline_code} if self.decline_code else {}
        return fields | ({"charge": self.charge} if self.charge else {})


@dataclass(frozen=True, slots=True)
class Charge:
    """An attempt to take the money that reached the bank; it `succeeded` or `failed`."""

    id: str
    created: int
    status: str
    card: str
    payment_method: str
    amount_refunded: int = 0


@dataclass(frozen=True, slots=True)
class PaymentIntent:
    """A payment; amounts in the currency's minor unit."""

    id: str
    created: int
    amount: int
    currency: str
    metadata: dict[str, str]
    capture_method: str
    redirects: str | None = None  # whether methods that redirect are allowed (always, never); None: cards alone
    description: str | None = None
    receipt_email: str | None = None
    statement_descriptor_suffix: str | None = None
    return_url: str | None = None
    status: str = "requires_payment_method"
    version: int = 1
    card: str | None = None  # the test card's name; the API shows `payment_method`, an id of its own
    payment_method: str | None = None
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    failure: Failure | None = None
    charge: Charge | None = None

    @property
    def received(self) -> int:
        """What was captured; refunds don't lessen it."""
        return self.amount if self.status == "succeeded" else 0

    def render(self, expand: frozenset[str] = frozenset()) -> dict[str, Any]:
        """As the API shows it."""
        types = ["card"] if self.redirects in (None, "never") else ["card", "link"]
        automatic = {"enabled": True, "allow_redirects": self.redirects} if self.redirects else None
        charge: Any = self.charge and self.charge.id
        if self.charge and "latest_charge" in expand:
            charge = self.render_charge()
        return {
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": self.received,
            "automatic_payment_methods": automatic,
            "canceled_at": self.canceled_at,
            "cancellation_reason": self.cancellation_reason,
            "capture_method": self.capture_method,
            "client_secret": f"{self.id}_{derive('secret', self.id)}",
            "confirmation_method": "automatic",
            "created": self.created,
            "currency": self.currency,
            "description": self.description,
            "last_payment_error": self.failure and self.failure.render(),
            "latest_charge": charge,
            "livemode": False,
            "metadata": self.metadata,
            "next_action": self._next_action(),
            "payment_method": self.payment_method,
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": types,
            "receipt_email": self.receipt_email,
            "statement_descriptor_suffix": self.statement_descriptor_suffix,
            "status": self.status,
            **dict.fromkeys(_UNUSED),
        }

    def render_charge(self) -> dict[str, Any] | None:
        """Its latest charge as the API shows it."""
        if self.charge is None:
            return None
        succeeded, charge = self.charge.status == "succeeded", self.charge
        return {
            "id": charge.id,
            "object": "charge",
            "amount": self.amount,
            "amount_captured": self.amount if succeeded else 0,
            "amount_refunded": charge.amount_refunded,
            "balance_transaction": None,
            "captured": succeeded,
            "created": charge.created,
            "currency": self.currency,
            "customer": None,
            "description": self.description,
            "disputed": False,
            "failure_code": self.failure.code if self.failure and not succeeded else None,
            "failure_message": self.failure.message if self.failure and not succeeded else None,
            "livemode": False,
            "metadata": self.metadata,
            "paid": succeeded,
            "payment_intent": self.id,
            "payment_method": charge.payment_method,
            "payment_method_details": {"type": "card", "card": CARDS[charge.card].render()},
            "receipt_email": self.receipt_email,
            "refunded": charge.amount_refunded == self.amount,
            "status": charge.status,
        }

    def _next_action(self) -> dict[str, Any] | None:
        if self.status != "requires_action":
            return None
        challenge = f"https://stripe.invalid/3d_secure/{self.id}"
        if self.return_url:
            return {"type": "redirect_to_url", "redirect_to_url": {"return_url": self.return_url, "url": challenge}}
        return {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": challenge},
        }


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back; a card's refund succeeds at once."""

    id: str
    created: int
    amount: int
    currency: str
    payment_intent: str
    charge: str
    metadata: dict[str, str]
    reason: str | None = None

    def render(self, _expand: frozenset[str] = frozenset()) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "id": self.id,
            "object": "refund",
            "balance_transaction": None,
            "destination_details": {"type": "card", "card": {"type": "refund", "reference_status": "pending"}},
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
            **{name: getattr(self, name) for name in self.__slots__ if name != "id"},
        }


def doc_url(code: str) -> str:
    """Where an error's code is explained."""
    return f"https://docs.stripe.com/error-codes#{code.replace('_', '-')}"


def _payment_method(identity: str, card: str) -> dict[str, Any]:
    return {
        "id": identity,
        "object": "payment_method",
        "card": CARDS[card].render(),
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
