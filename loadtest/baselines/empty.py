"""The least that a function can do: the most that one instance can answer on this machine."""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

_BODY = b'{"order_id":"00000000-0000-8000-8000-000000000000","status":"accepted","status_url":"/v1/orders/0"}'


@functions_framework.aio.http
async def empty(_request: Request) -> Response:
    """Answer 202, whatever was asked."""
    return Response(_BODY, 202, media_type="application/json")
