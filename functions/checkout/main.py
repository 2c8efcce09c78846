"""The public API: take orders, and tell what became of them."""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from common.api import api


@functions_framework.aio.http
async def checkout(request: Request) -> Response:
    """Answer one call of the API."""
    return await api().router.answer(request)
