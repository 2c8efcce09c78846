"""What tests and people do with the Stripe stand-in behind the API's back, under /_control."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from local.stripe_faults import Fate, Faults
from local.stripe_payments import authenticate
from local.stripe_records import Movement
from local.stripe_store import Store

ADVANCE_SECONDS_MAX = 366 * 24 * 3600.0  # at once: nothing here lives longer than a year
ROWS_AT_ONCE = 500  # of a long list, before other requests get their turn
_OUTCOMES = ("succeed", "fail")


class Refused(Exception):
    """A call that can't be done; the text says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """The calls; none of them is limited or meets faults."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self._store, self._fate = store, fate

    def routes(self) -> list[web.RouteDef]:
        """Where they answer."""
        return [
            web.get("/_control/health", self._health),
            web.get("/_control/movements", self._movements),
            web.get("/_control/payment_intents", self._payment_intents),
            web.post("/_control/payment_intents/{id}/authenticate", self._authenticate),
            web.get("/_control/faults", self._show_faults),
            web.post("/_control/faults", self._set_faults),
            web.post("/_control/clock", self._advance_clock),
        ]

    async def _health(self, _request: web.Request) -> web.Response:
        counts = {
            "payment_intents": len(self._store.payment_intents),
            "refunds": len(self._store.refunds),
            "movements": len(self._store.movements),
            "idempotency_keys": len(self._store.keys),
            "idempotency_keys_in_use": self._store.keys.in_use,
            "waiting_events": len(self._store.waiting_events),
        }
        return web.json_response({"status": "ok", **counts})

    async def _movements(self, request: web.Request) -> web.StreamResponse:
        return await _stream(request, self._store.movements, _render_movement)

    async def _payment_intents(self, request: web.Request) -> web.StreamResponse:
        return await _stream(request, list(self._store.payment_intents.newest()), lambda payment: payment.render())

    async def _authenticate(self, request: web.Request) -> web.Response:
        outcome = (await _read(request)).get("outcome", "succeed")
        if outcome not in _OUTCOMES:
            raise Refused(400, f"outcome must be one of {', '.join(_OUTCOMES)}")
        payment = self._store.payment_intents.get(request.match_info["id"])
        if payment is None:
            raise Refused(404, f"there is no payment {request.match_info['id']}")
        if payment.status != "requires_action":
            raise Refused(409, f"nobody is asked to authenticate: the payment has a status of {payment.status}")
        change = authenticate(payment, self._store.now(), outcome == "succeed")
        self._store.commit(change, request=None)
        return web.json_response(change.answer.render())

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self._fate.faults.to_json())

    async def _set_faults(self, request: web.Request) -> web.Response:
        """Put these faults in force in place of all others; they end with the process."""
        try:
            self._fate.set(Faults.of(await _read(request)))
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return await self._show_faults(request)

    async def _advance_clock(self, request: web.Request) -> web.Response:
        seconds: Any = (await _read(request)).get("advance_seconds")
        if type(seconds) not in (int, float) or not 0 <= seconds <= ADVANCE_SECONDS_MAX:
            raise Refused(400, f"advance_seconds must be a number from 0 to {ADVANCE_SECONDS_MAX:.0f}")
        self._store.advance(seconds)
        return web.json_response({"now": _iso(self._store.now())})


@web.middleware
async def refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer what is refused in words."""
    try:
        answer: web.StreamResponse = await handler(request)
    except Refused as refused:
        return web.json_response({"error": str(refused)}, status=refused.status)
    return answer


async def _read(request: web.Request) -> dict[str, Any]:
    body = await request.read()
    # Asking for JSON keeps out the pages of other sites in this machine's browser: they may post forms to anywhere.
    if body and request.content_type != "application/json":
        raise Refused(415, "the body must be JSON, with Content-Type: application/json")
    try:
        content = json.loads(body or "{}")
    except ValueError:
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(content, dict):
        raise Refused(400, "the body must be a JSON object")
    return content


async def _stream(request: web.Request, rows: Sequence[Any], render: Any) -> web.StreamResponse:
    """A JSON array of everything, in pieces: all at once would hold up other requests for a second."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        piece = ",".join(json.dumps(render(row)) for row in rows[first : first + ROWS_AT_ONCE])
        await response.write(("," if first else "[").encode() + piece.encode())
        await asyncio.sleep(0)
    await response.write(b"]" if rows else b"[]")
    await response.write_eof()
    return response


def _render_movement(movement: Movement) -> dict[str, Any]:
    return {**asdict(movement), "at": _iso(movement.at)}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
