"""charge_order with a provider that is not careful: it creates and confirms in one call. A control for the crash tests.

Without KEEPS_KEY in its environment it drops the idempotency key, too.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import common.charging
from common.contracts import ClaimedPayment
from common.stripe_payments import StripePayments

_MAIN = Path(__file__).parents[2] / "functions" / "charge_order" / "main.py"


class CarelessPayments(StripePayments):
    """Charges a card as soon as it sees it."""

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
        return (await self._client.v1.payment_intents.create_async(params, options)).id


setattr(common.charging, "StripePayments", CarelessPayments)  # noqa: B010 (it is no name that others should use)
_spec = importlib.util.spec_from_file_location("careful_main", _MAIN)
assert _spec is not None
assert _spec.loader is not None
_main = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_main)
charge_order = _main.charge_order
