"""Charge reserved orders, as messages wake it, and settle what the payment provider tells."""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from common.charging import charging
from common.messages import NoDelivery, parse_push


@functions_framework.aio.http
async def charge_order(request: Request) -> Response:
    """Acknowledge (204) what was looked after; 503 makes Pub/Sub deliver again."""
    try:
        delivery = parse_push(await request.body())
    except NoDelivery:
        return Response("This is no Pub/Sub push request.", 400)
    return Response(None, 204 if await charging().handle(delivery) else 503)
