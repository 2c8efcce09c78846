"""The API's calls: what each reads from its request, and what it answers."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from common.checkout import Checkout
from common.database import Database, DatabaseUnavailable
from common.openapi import openapi_document
from common.orders import Orders
from common.parsing import check_content_type, parse_checkout, parse_idempotency_key
from common.problems import Problem
from common.publisher import Message, Publisher, PublishFailed
from common.refusals import unavailable, webhooks_unavailable
from common.settings import (
    HEALTH_SECONDS,
    ORDERS_TOPIC,
    PAYMENTS_TOPIC,
    POLL_AFTER_SECONDS,
    WAIT_SECONDS_MAX,
    settings,
)
from common.web import Router, json_response, read_body
from common.webhooks import check_signature, parse_event
from common.worker import start_worker

_HTTPS_PORT = 443


class Api:
    """The calls of one instance, and the clients that they share."""

    def __init__(self) -> None:
        start_worker()
        values = settings()
        self._database = Database(values.database)
        self._publisher = Publisher(values.project, ORDERS_TOPIC, values.pubsub_emulator_host)
        self._payments = Publisher(values.project, PAYMENTS_TOPIC, values.pubsub_emulator_host)
        self._checkout = Checkout(
            self._database, self._publisher, values.order_id_secrets, takes_payments=values.takes_payments
        )
        self._orders = Orders(self._database, self._payments, values.order_id_secrets)
        self.router = Router(
            [
                ("POST", "/v1/checkout", self._take_order),
                ("GET", "/v1/orders/{order_id}", self._show_order),
                ("POST", "/v1/orders/{order_id}/cancel", self._cancel_order),
                ("GET", "/v1/drops/{drop_id}", self._show_drop),
                ("POST", "/v1/webhooks/stripe", self._take_webhook),
                ("GET", "/v1/openapi.json", self._show_openapi),
                ("GET", "/v1/health", self._show_health),
            ]
        )

    async def close(self) -> None:
        """Close the clients."""
        await self._publisher.close()
        await self._payments.close()
        await self._database.close()

    async def _take_order(self, request: Request) -> Response:
        check_content_type(request.headers.getlist("content-type"))
        body = await read_body(request)
        key = parse_idempotency_key(request.headers.getlist("idempotency-key"))
        receipt = await self._checkout.accept(parse_checkout(body), key)
        path = f"/v1/orders/{receipt.order_id}"
        headers = {"Location": path, "Retry-After": str(POLL_AFTER_SECONDS)}
        if receipt.replayed:
            headers["Idempotency-Replayed"] = "true"
        return json_response({"order_id": receipt.order_id, "status": "accepted", "status_url": path}, 202, headers)

    async def _show_order(self, request: Request, order_id: str) -> Response:
        return json_response(await self._orders.show(order_id, _wait_seconds(request)))

    async def _cancel_order(self, _request: Request, order_id: str) -> Response:
        return json_response(await self._orders.cancel(order_id))

    async def _show_drop(self, _request: Request, drop_id: str) -> Response:
        return json_response(await self._orders.show_drop(drop_id), 200, {"Cache-Control": "public, max-age=1"})

    async def _take_webhook(self, request: Request) -> Response:
        """Hand an event of Stripe's on; Stripe sends it again, for days, until it is answered with 200."""
        if not (secret := settings().stripe_webhook_secret):
            raise webhooks_unavailable()
        body = await read_body(request)
        check_signature(body, ", ".join(request.headers.getlist("stripe-signature")), secret)
        if (event := parse_event(body)) is not None:
            try:
                await self._payments.publish([Message.of(event, {})])
            except PublishFailed:
                raise unavailable() from None
        return json_response({"received": True})

    async def _show_openapi(self, _request: Request) -> Response:
        return json_response(_openapi(), 200, {"Cache-Control": "public, max-age=300"})

    async def _show_health(self, _request: Request) -> Response:
        # one after the other: the first look at the queue imports its client, and would eat the other's time
        queue = await self._publisher.reachable()
        database, payments = await asyncio.gather(self._database_answers(), _provider_reachable())
        return json_response(
            {
                "status": "ok" if database and queue and payments is not False else "degraded",
                "database": "ok" if database else "down",
                "queue": "ok" if queue else "down",
                "payments": {None: "not-configured", True: "ok", False: "down"}[payments],
            }
        )

    async def _database_answers(self) -> bool:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await self._database.read("SELECT 1")
        except (DatabaseUnavailable, TimeoutError):
            return False
        return True


async def _provider_reachable() -> bool | None:
    """Whether the payment provider takes connections; None if there is none. checkout has no key to ask for more."""
    if not settings().takes_payments:
        return None
    base = urlsplit(settings().stripe_api_base)
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            _, writer = await asyncio.open_connection(base.hostname, base.port or _HTTPS_PORT)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


@lru_cache(maxsize=1)
def api() -> Api:
    """The instance's one Api, made by its first request, after the worker process has started."""
    return Api()


@lru_cache(maxsize=1)
def _openapi() -> dict[str, object]:
    return openapi_document()


def _wait_seconds(request: Request) -> int:
    values = request.query_params.getlist("wait")
    if not values:
        return 0
    text = values[0]
    if len(values) > 1 or not (text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= WAIT_SECONDS_MAX):
        errors = [{"field": "wait", "message": f"one whole number of seconds from 0 to {WAIT_SECONDS_MAX}"}]
        raise Problem("invalid-request", "Correct the fields named in errors.", errors=errors)
    return int(text)
