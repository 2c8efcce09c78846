"""Reserve stock for accepted orders, as Pub/Sub pushes their messages."""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from common.messages import NoDelivery, parse_push
from common.reservations import reservations


@functions_framework.aio.http
async def process_order(request: Request) -> Response:
    """Acknowledge (204) what is decided or can never be; 503 makes Pub/Sub deliver again."""
    try:
        delivery = parse_push(await request.body())
    except NoDelivery:
        return Response("This is no Pub/Sub push request.", 400)
    return Response(None, 204 if await reservations().decide(delivery) else 503)
