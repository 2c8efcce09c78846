"""The endpoints of the Stripe stand-in: which parameters each takes, and what it does.

What Stripe knows beyond these parameters is refused as unknown: the stand-in would have to ignore it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from local import stripe_payments
from local.stripe_errors import no_such
from local.stripe_money import AMOUNT_MAX
from local.stripe_objects import PaymentIntent, Refund
from local.stripe_params import (
    Schema,
    boolean,
    choice,
    currency,
    either,
    integer,
    list_of,
    matching,
    metadata,
    nested,
    text,
)
from local.stripe_records import Change, Document
from local.stripe_store import Store

PAGE_MAX, PAGE = 100, 10  # objects in one answer, as Stripe has it
_EMAIL = matching(r"[^@\s]+@[^@\s]+\.[^@\s]+", "email address", "email_invalid")
_URL = matching(r"[a-z][a-z0-9+.-]*:\S+", "url", "url_invalid")
_EXPAND = list_of(choice("latest_charge"))
_TIMES = integer(0, 10**11)
_PAGING = {
    "limit": integer(1, PAGE_MAX),
    "starting_after": text(),
    "created": either(_TIMES, nested(Schema(dict.fromkeys(("gt", "gte", "lt", "lte"), _TIMES)))),
}
_CREATE = {
    "amount": integer(1, AMOUNT_MAX, "amount_too_large"),
    "currency": currency,
    "automatic_payment_methods": nested(
        Schema({"enabled": boolean, "allow_redirects": choice("always", "never")}, required=("enabled",))
    ),
    "payment_method_types": list_of(choice("card")),
    "payment_method": text(),
    "capture_method": choice("automatic", "automatic_async"),
    "confirm": boolean,
    "description": text(1_000),
    "metadata": metadata,
    "receipt_email": _EMAIL,
    "return_url": _URL,
    "statement_descriptor_suffix": text(22),
    "use_stripe_sdk": boolean,
    "expand": _EXPAND,
}
_CONFIRM = {
    name: _CREATE[name] for name in ("payment_method", "receipt_email", "return_url", "use_stripe_sdk", "expand")
}
_CANCEL = {
    "cancellation_reason": choice("duplicate", "fraudulent", "requested_by_customer", "abandoned"),
    "expand": _EXPAND,
}
_REFUND = {
    "payment_intent": text(),
    "amount": integer(1, AMOUNT_MAX, "amount_too_large"),
    "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
    "metadata": metadata,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request for an endpoint."""

    identity: str  # what ids are derived from
    object_id: str  # in the path; empty if there is none
    params: dict[str, Any]
    is_declined: bool  # whether the bank declines what would succeed


@dataclass(frozen=True)
class Endpoint:
    """A path and what stands behind it: a Change to commit, or something to read."""

    method: str
    path: str
    schema: Schema
    work: Callable[[Call], Change | Document | dict[str, Any]]


class Api:
    """The endpoints over a store. They raise StripeError where Stripe answers with an error."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        intents, refunds = "/v1/payment_intents", "/v1/refunds"
        expand = {"expand": list_of(choice("data.latest_charge"))}
        return [
            Endpoint("POST", intents, Schema(_CREATE, ("amount", "currency")), self._create),
            Endpoint("GET", intents, Schema(_PAGING | expand), self._list_payments),
            Endpoint("GET", f"{intents}/{{id}}", Schema({"expand": _EXPAND}), self._retrieve),
            Endpoint("POST", f"{intents}/{{id}}/confirm", Schema(_CONFIRM), self._confirm),
            Endpoint("POST", f"{intents}/{{id}}/cancel", Schema(_CANCEL), self._cancel),
            Endpoint("POST", refunds, Schema(_REFUND, ("payment_intent",)), self._refund),
            Endpoint("GET", refunds, Schema(_PAGING | {"payment_intent": text()}), self._list_refunds),
            Endpoint("GET", f"{refunds}/{{id}}", Schema({}), self._retrieve_refund),
        ]

    def _create(self, call: Call) -> Change:
        identity = self._store.new_id("pi", call.identity)
        return stripe_payments.create(identity, self._store.now(), call.params, call.is_declined)

    def _confirm(self, call: Call) -> Change:
        payment = self._payment(call.object_id)
        return stripe_payments.confirm(payment, self._store.now(), call.params, call.is_declined)

    def _cancel(self, call: Call) -> Change:
        return stripe_payments.cancel(self._payment(call.object_id), self._store.now(), call.params)

    def _retrieve(self, call: Call) -> PaymentIntent:
        return self._payment(call.object_id)

    def _refund(self, call: Call) -> Change:
        payment = self._payment(call.params["payment_intent"], "payment_intent", 400)
        identity = self._store.new_id("re", call.identity)
        return stripe_payments.refund(payment, identity, self._store.now(), call.params)

    def _retrieve_refund(self, call: Call) -> Refund:
        if (refund := self._store.refunds.get(call.object_id)) is None:
            raise no_such("refund", call.object_id, "id", 404)
        return refund

    def _list_payments(self, call: Call) -> dict[str, Any]:
        after = call.params.get("starting_after")
        if after is not None:
            self._payment(after, "starting_after", 400)
        expand = frozenset(name.removeprefix("data.") for name in call.params.get("expand", ()))
        return _page("/v1/payment_intents", self._store.payment_intents.newest(after), call.params, expand)

    def _list_refunds(self, call: Call) -> dict[str, Any]:
        after, of = call.params.get("starting_after"), call.params.get("payment_intent")
        if after is not None and after not in self._store.refunds:
            raise no_such("refund", after, "starting_after")
        refunds = (refund for refund in self._store.refunds.newest(after) if of in (None, refund.payment_intent))
        return _page("/v1/refunds", refunds, call.params, frozenset())

    def _payment(self, identity: str, param: str = "intent", status: int = 404) -> PaymentIntent:
        if (payment := self._store.payment_intents.get(identity)) is None:
            raise no_such("payment_intent", identity, param, status)
        return payment


def _page(url: str, rows: Iterator[Document], params: dict[str, Any], expand: frozenset[str]) -> dict[str, Any]:
    limit, created = params.get("limit", PAGE), params.get("created", {})
    wanted = list(islice((row for row in rows if _is_created(row.created, created)), limit + 1))
    data = [row.render(expand) for row in wanted[:limit]]
    return {"object": "list", "url": url, "has_more": len(wanted) > limit, "data": data}


def _is_created(at: int, created: int | dict[str, int]) -> bool:
    if isinstance(created, int):
        return at == created
    return created.get("gte", at) <= at <= created.get("lte", at) and created.get("gt", at - 1) < at < created.get(
        "lt", at + 1
    )
