"""A payment provider that is not careful: it creates and confirms in one call. The control of the tests of charging."""

from __future__ import annotations

import os
from typing import Any

from common.payment_contracts import ClaimedPayment
from common.stripe_payments import StripePayments, _asked


class CarelessPayments(StripePayments):
    """Charges a card as soon as it sees it; without KEEPS_KEY in the environment it drops the idempotency key, too."""

    async def create(self, payment: ClaimedPayment) -> str:
        params: Any = {
            "amount": payment["amount_minor"],
            "currency": payment["currency"].lower(),
            "payment_method": payment["payment_method"],
            "payment_method_types": ["card"],
            "metadata": {"order_id": payment["order_id"], "drop_id": payment["drop_id"]},
            "confirm": True,
        }
        options: Any = {"idempotency_key": payment["order_id"]} if "KEEPS_KEY" in os.environ else {}
        return (await _asked(self._client.v1.payment_intents.create_async(params, options))).id
