"""Requests to a served checkout, right until a test changes something."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import aiohttp

JSON = {"Content-Type": "application/json"}


def request(**fields: Any) -> dict[str, Any]:
    return {"drop_id": "open", "customer": {"id": "c"}, "items": [{"sku": "M", "quantity": 1}], **fields}


def raw(**fields: Any) -> bytes:
    return json.dumps(request(**fields)).encode()


async def post(
    http: aiohttp.ClientSession, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any], Any]:
    """Send a checkout, under a key of its own unless told otherwise; the answer's status, body and headers."""
    headers = {**JSON, "Idempotency-Key": uuid4().hex} if headers is None else headers
    async with http.post("/v1/checkout", data=body, headers=headers, skip_auto_headers=["Content-Type"]) as response:
        return response.status, await response.json(content_type=None), response.headers
