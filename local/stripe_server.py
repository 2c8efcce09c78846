"""The way of a request through the Stripe stand-in: rate, faults, idempotency, work, answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from local.stripe_api import Call, Endpoint
from local.stripe_errors import Full, StripeError, invalid, lock_timeout, rate_limited, server_error
from local.stripe_faults import Fate, Plan
from local.stripe_http import Answer, check_api_key, read_key, read_params, respond
from local.stripe_rates import Rates
from local.stripe_records import Change
from local.stripe_store import Store

HANG_SECONDS = 100.0  # longer than any client waits; the SDK's own time-out is 80
HANGS_MAX = 400  # at once, each a file descriptor; further ones are cut off at once, as by a server that died
HANG_POLL_SECONDS = 0.1


class Unanswered(Exception):
    """The client is to hear nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in."""

    id: str
    object_id: str
    params: dict[str, Any]
    key: str | None  # idempotency is for POST alone
    fingerprint: str  # `PATH DIGEST`, the same for the same request


class Server:
    """Answers the API's requests."""

    def __init__(self, store: Store, fate: Fate, rates: Rates) -> None:
        self._store, self._fate, self._rates = store, fate, rates
        self._hanging = 0

    def handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """What serves an endpoint."""

        async def handle(request: web.Request) -> web.StreamResponse:
            _identify(request)
            try:
                return await self._serve(endpoint, request)
            except StripeError as error:
                return respond(request, error)
            except Unanswered:
                return await self._hang(request)

        return handle

    async def _serve(self, endpoint: Endpoint, request: web.Request) -> web.Response:
        check_api_key(request)
        asked = await _read(request)
        self._rates.take(f"{endpoint.method} {endpoint.path}")
        plan = self._fate.plan(asked.key or f"{endpoint.method} {asked.fingerprint}")
        if plan.timeout_before:
            raise Unanswered
        if plan.rate_limit:
            raise rate_limited("endpoint-rate")
        if plan.lock_timeout and asked.object_id:
            raise lock_timeout()
        saved = self._store.keys.find(asked.key, asked.fingerprint, self._store.now()) if asked.key else None
        answer = saved or await self._work(endpoint, asked, plan)
        if plan.timeout_after:
            raise Unanswered
        return respond(request, answer, asked.params, replayed=saved is not None)

    async def _work(self, endpoint: Endpoint, asked: Asked, plan: Plan) -> Answer:
        """Do it. Once it has begun, the answer is kept under the key, whatever it is."""
        params = endpoint.schema.check(asked.params)
        with self._store.keys.under_way(asked.key, asked.fingerprint) if asked.key else nullcontext():
            if plan.slow:
                await asyncio.sleep(plan.slow)
            call = Call(asked.key or secrets.token_hex(16), asked.object_id, params, plan.decline)
            result = _attempt(endpoint, call, plan)
            if not isinstance(result, Change):
                return result
            if asked.key or result.payment_intent:
                self._store.commit(result, asked.id, asked.key, asked.fingerprint)
            return result.answer

    async def _hang(self, request: web.Request) -> web.Response:
        """Keep the client waiting until it gives up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (HANG_SECONDS if self._hanging < HANGS_MAX else 0)
        self._hanging += 1
        try:
            while request.transport and loop.time() < deadline:  # noqa: ASYNC110 - aiohttp doesn't tell when it is gone
                await asyncio.sleep(HANG_POLL_SECONDS)
        finally:
            self._hanging -= 1
        if request.transport:
            request.transport.abort()
        return web.Response()  # for nobody


async def unknown(request: web.Request) -> web.StreamResponse:
    """What Stripe answers for a path that it doesn't have."""
    _identify(request)
    return respond(request, invalid(f"Unrecognized request URL ({request.method}: {request.path}).", status=404))


def _identify(request: web.Request) -> None:
    request["id"] = f"req_{secrets.token_hex(12)}"


async def _read(request: web.Request) -> Asked:
    params = await read_params(request)
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:32]
    object_id = request.match_info.get("id", "")
    return Asked(request["id"], object_id, params, read_key(request), f"{request.raw_path.partition('?')[0]} {digest}")


def _attempt(endpoint: Endpoint, call: Call, plan: Plan) -> Change | Answer:
    if plan.error_500_before:
        return Change(error=server_error())
    try:
        result = endpoint.work(call)
    except Full:
        raise
    except StripeError as error:
        result = Change(error=error.with_traceback(None))  # it may be kept for a day, its stack frames shouldn't
    if plan.error_500_after:
        return replace(result if isinstance(result, Change) else Change(), error=server_error())
    return result
