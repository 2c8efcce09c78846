"""Finish what time or a crash left behind; called every minute by a scheduler."""

from __future__ import annotations

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from common.reconcile.steps import reconcile_steps


@functions_framework.aio.http
async def reconcile(_request: Request) -> Response:
    """Run every step: 200 with the report, or 500 with it when a step failed."""
    report, well = await reconcile_steps().run()
    return JSONResponse(report, 200 if well else 500)
