"""Stripe, through its own SDK: PaymentIntents for one card payment each, and refunds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from common.logs import log
from common.payment_contracts import ClaimedPayment, ClaimedRefund, DeclineReason
from common.payments import InDoubt, ProviderPayment, Refused, Standing, State
from common.settings import (
    CHARGES_MAX,
    DOUBT_SECONDS,
    PROVIDER_LIST_PAUSE_SECONDS,
    PROVIDER_PAGE,
    PROVIDER_PAGE_TRIES,
    STRIPE_CONNECT_SECONDS,
    STRIPE_SECONDS,
    SettingsError,
)

if TYPE_CHECKING:
    from stripe import ListObject, PaymentIntent, StripeClient

Answer = TypeVar("Answer")

_STATES: dict[str, State] = {
    "requires_payment_method": "failed",  # created with one: it has lost it to a failure
    "requires_confirmation": "open",
    "requires_action": "action_required",
    "processing": "processing",
    "succeeded": "captured",
    "canceled": "cancelled",
}
_UNMADE = ("failed", "canceled")  # of a refund: the money is back with us
_AUTHENTICATION = ("payment_intent_authentication_failure", "authentication_required")


class StripePayments:
    """A PaymentProvider. Made on first use, after the fork; use it from one event loop only."""

    def __init__(self, api_key: str, api_base: str) -> None:
        if not api_key:
            raise SettingsError("MERCHDROP_STRIPE_API_KEY is not set: payments can't be made")
        # A quarter of a second of processor time, which belongs to the first charge, not to every cold start.
        import stripe

        stripe.enable_telemetry = False  # it would tell Stripe of one request in the headers of another one
        timeout = aiohttp.ClientTimeout(total=STRIPE_SECONDS, sock_connect=STRIPE_CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=CHARGES_MAX))
        self._client: StripeClient = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base},
            http_client=stripe.AIOHTTPClient(timeout=timeout, session=self._session),
            max_network_retries=0,  # one policy of repeating, ours
        )

    async def create(self, payment: ClaimedPayment) -> str:
        """An unconfirmed PaymentIntent; its key is the order's, so that a repetition finds the first one.

        An answer of 5xx is kept under that key. The PaymentIntent that it may have made is nobody's: it can't be
        confirmed without its id, so another one may take its place.

        Raises:
            InDoubt, Refused: as every PaymentProvider.
        """
        try:
            return await self._create(payment, f"{payment['order_id']}-create")
        except InDoubt as error:
            if not error.is_answered:
                raise
            return await self._create(payment, f"{payment['order_id']}-create-{payment['attempt']}")

    async def _create(self, payment: ClaimedPayment, key: str) -> str:
        params: Any = {
            "amount": payment["amount_minor"],
            "currency": payment["currency"].lower(),
            "payment_method": payment["payment_method"],
            "payment_method_types": ["card"],
            "metadata": {"order_id": payment["order_id"], "drop_id": payment["drop_id"]},
        }
        intents = self._client.v1.payment_intents
        return (await _asked(intents.create_async(params, {"idempotency_key": key}))).id

    async def look_up(self, ref: str) -> Standing:
        """The PaymentIntent's own status, which is the truth whatever calls were answered."""
        return _standing(await _asked(self._client.v1.payment_intents.retrieve_async(ref)))

    async def confirm(self, ref: str, attempt: int) -> Standing:
        """Charge it; a refusal of any kind is looked up, as it may be about what somebody else did to it."""
        intents = self._client.v1.payment_intents
        try:
            return _standing(
                await _asked(intents.confirm_async(ref, {}, {"idempotency_key": f"{ref}-confirm-{attempt}"}))
            )
        except Refused as error:
            standing = await self.look_up(ref)
            if standing.state == "open":  # it will never be charged as it is
                log(logging.ERROR, "Stripe does not confirm a payment", ref=ref, cause=error)
                return Standing(ref, "failed", reason="card_declined")
            return standing

    async def cancel(self, ref: str, attempt: int) -> Standing:
        """Cancel it, unless it was captured or cancelled before."""
        intents = self._client.v1.payment_intents
        try:
            return _standing(
                await _asked(intents.cancel_async(ref, {}, {"idempotency_key": f"{ref}-cancel-{attempt}"}))
            )
        except Refused:
            return await self.look_up(ref)

    async def refund(self, refund: ClaimedRefund) -> str:
        """Refund a part of a PaymentIntent, or all of it."""
        params: Any = {
            "payment_intent": refund["provider_ref"],
            "amount": refund["amount_minor"],
            "metadata": {"refund_id": refund["refund_id"]},
        }
        key = f"{refund['refund_id']}-{refund['key_number']}"
        made = await _asked(self._client.v1.refunds.create_async(params, {"idempotency_key": key}))
        if made.status in _UNMADE:
            raise Refused(f"the refund has {made.status}")
        return made.id

    async def find_refund(self, refund: ClaimedRefund) -> str | None:
        """Look through the payment's refunds; each tells whose it is. One that has failed gave nothing back."""
        params: Any = {"payment_intent": refund["provider_ref"], "limit": PROVIDER_PAGE}
        while True:
            page = await _asked(self._client.v1.refunds.list_async(params))
            for made in page.data:
                is_ours = made.metadata and made.metadata.to_dict().get("refund_id") == refund["refund_id"]
                if is_ours and made.status not in _UNMADE:
                    return str(made.id)
            if not page.has_more:
                return None
            params["starting_after"] = page.data[-1].id

    async def payments_since(self, since: datetime, drop_id: str) -> AsyncIterator[ProviderPayment]:
        """Read the account's PaymentIntents since then, newest first, and give those of the drop."""
        params: Any = {
            "created": {"gte": int(since.timestamp())},
            "limit": PROVIDER_PAGE,
            "expand": ["data.latest_charge"],
        }
        while True:
            page = await self._list(params)
            for intent in page.data:
                metadata = intent.metadata.to_dict() if intent.metadata else {}
                if metadata.get("drop_id") == drop_id:
                    yield _in_books(intent, str(metadata.get("order_id", "")))
            if not page.has_more:
                return
            params["starting_after"] = page.data[-1].id
            await asyncio.sleep(PROVIDER_LIST_PAUSE_SECONDS)

    async def _list(self, params: Any) -> ListObject[PaymentIntent]:
        for _ in range(PROVIDER_PAGE_TRIES - 1):
            try:
                return await _asked(self._client.v1.payment_intents.list_async(params))
            except InDoubt:
                await asyncio.sleep(DOUBT_SECONDS)
        return await _asked(self._client.v1.payment_intents.list_async(params))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


async def _asked(call: Awaitable[Answer]) -> Answer:
    """The SDK's answer, or its error as one of the two that matter; its text may quote a request, and stays here."""
    import stripe

    try:
        return await call
    except stripe.StripeError as error:
        status = error.http_status or 0
        cause = f"Stripe answered {status}" if status else "Stripe did not answer"
        code = getattr(error, "code", None)
        if status in (401, 403):
            log(logging.ERROR, "Stripe refuses the API key; correct MERCHDROP_STRIPE_API_KEY", status=status)
        if status in (400, 402, 404) and not isinstance(error, stripe.IdempotencyError):
            raise Refused(f"{cause} ({code})") from None
        raise InDoubt(f"{cause} ({code})" if code else cause, is_answered=status >= 500) from None
    except (TimeoutError, aiohttp.ClientError, ValueError) as error:  # while the body was read, or of what it held
        raise InDoubt(f"Stripe's answer broke off ({type(error).__name__})") from None


def _standing(intent: PaymentIntent) -> Standing:
    state = _STATES.get(intent.status, "processing")
    return Standing(
        intent.id,
        state,
        captured_minor=intent.amount_received if state == "captured" else 0,
        reason=_reason(intent),
        client_secret=intent.client_secret if state == "action_required" else None,
    )


def _reason(intent: PaymentIntent) -> DeclineReason | None:
    """Why the last attempt failed, in the few words that a storefront shows."""
    error = intent.last_payment_error
    if error is None:
        return None
    code, decline_code = getattr(error, "code", None), getattr(error, "decline_code", None)
    if code in _AUTHENTICATION or decline_code in _AUTHENTICATION:
        return "authentication_failed"
    return "insufficient_funds" if "insufficient_funds" in (code, decline_code) else "card_declined"


def _in_books(intent: PaymentIntent, order_id: str) -> ProviderPayment:
    charge: Any = intent.latest_charge
    return ProviderPayment(
        intent.id,
        order_id,
        _STATES.get(intent.status, "processing"),
        intent.amount,
        intent.currency.upper(),
        captured_minor=intent.amount_received,
        refunded_minor=charge.amount_refunded if charge is not None else 0,
    )
