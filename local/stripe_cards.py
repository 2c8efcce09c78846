"""The test payment methods of Stripe that the stand-in knows, and what their bank says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """A test card; with a `code` it is declined, and with `challenge` its owner has to authenticate first."""

    brand: str
    last4: str
    code: str | None = None
    decline_code: str | None = None
    message: str = ""
    challenge: bool = False

    def render(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"brand": self.brand, "country": "US", "exp_month": 12, "exp_year": 2040, "last4": self.last4}


def _declined(last4: str, decline_code: str, message: str, *, challenge: bool = False) -> Card:
    return Card("visa", last4, "card_declined", decline_code, message, challenge)


def _refused(last4: str, code: str, message: str) -> Card:
    return Card("visa", last4, code, code, message)


DECLINED = _declined("0002", "generic_decline", "Your card was declined.")
_NO_MONEY = _declined("9995", "insufficient_funds", "Your card has insufficient funds.")

CARDS = {
    "pm_card_visa": Card("visa", "4242"),
    "pm_card_mastercard": Card("mastercard", "4444"),
    "pm_card_amex": Card("amex", "8431"),
    "pm_card_visa_chargeDeclined": DECLINED,
    "pm_card_chargeDeclined": DECLINED,
    "pm_card_visa_chargeDeclinedInsufficientFunds": _NO_MONEY,
    "pm_card_chargeDeclinedInsufficientFunds": _NO_MONEY,
    "pm_card_visa_chargeDeclinedLostCard": _declined("9987", "lost_card", "Your card was declined."),
    "pm_card_visa_chargeDeclinedStolenCard": _declined("9979", "stolen_card", "Your card was declined."),
    "pm_card_chargeDeclinedExpiredCard": _refused("0069", "expired_card", "Your card has expired."),
    "pm_card_chargeDeclinedIncorrectCvc": _refused("0127", "incorrect_cvc", "The card's security code is wrong."),
    "pm_card_chargeDeclinedProcessingError": _refused(
        "0119", "processing_error", "The bank could not process the card."
    ),
    "pm_card_authenticationRequired": Card("visa", "3155", challenge=True),
    "pm_card_threeDSecure2Required": Card("visa", "3220", challenge=True),
    "pm_card_threeDSecureRequiredChargeDeclined": _declined(
        "1629", "generic_decline", "Your card was declined.", challenge=True
    ),
}
