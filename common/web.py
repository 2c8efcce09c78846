"""HTTP around the use cases: read a bounded body, route, answer with JSON or a problem, say who may call (CORS)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from common.batching import BadItem, Overloaded
from common.database import DatabaseUnavailable
from common.logs import log, trace_context
from common.parsing import too_large
from common.problems import Problem
from common.refusals import overloaded, unavailable
from common.settings import BODY_BYTES_MAX, BODY_SECONDS, settings

Handler = Callable[..., Awaitable[Response]]
Route = tuple[str, str, Handler]

_CORS_MAX_AGE_SECONDS = "600"


def json_response(
    document: Any,
    status: int = 200,
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """A JSON answer that no cache keeps, unless its headers say otherwise."""
    return Response(orjson.dumps(document), status, {"Cache-Control": "no-store", **(headers or {})}, media_type)


async def read_body(request: Request) -> bytes:
    """The body, refused as soon as it is over the limit, or when it takes too long to arrive.

    Raises:
        Problem: `too-large`, `request-timeout`.
        ClientDisconnect: the client hung up half-way.
    """
    if int((request.headers.getlist("content-length") or ["0"])[0]) > BODY_BYTES_MAX:
        raise too_large()
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                event = await request.receive()
                if event["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += bytes(event.get("body", b""))
                if len(body) > BODY_BYTES_MAX:
                    raise too_large()
                if not event.get("more_body"):
                    return body
    except TimeoutError:
        raise Problem("request-timeout", f"Send the whole body within {BODY_SECONDS:.0f} seconds.") from None


class Router:
    """Sends a request to the handler of its method and path; path parameters stand in braces."""

    def __init__(self, routes: list[Route]) -> None:
        self._exact: dict[str, dict[str, Handler]] = {}
        self._patterns: dict[re.Pattern[str], dict[str, Handler]] = {}
        for method, path, handler in routes:
            if "{" in path:
                pattern = re.compile(re.sub(r"\{\w+\}", "([^/]+)", path))
                self._patterns.setdefault(pattern, {})[method] = handler
            else:
                self._exact.setdefault(path, {})[method] = handler

    async def answer(self, request: Request) -> Response:
        """The handler's answer, or the problem that it raised; never raises."""
        if trace := request.headers.getlist("traceparent"):
            trace_context.set(trace[0])
        try:
            response = await self._dispatch(request)
        except Problem as problem:
            response = _problem_response(problem)
        except Overloaded:
            response = _problem_response(overloaded())
        except DatabaseUnavailable:
            response = _problem_response(unavailable())
        except BadItem as error:
            log(logging.ERROR, "the database can't take what a request holds", cause=error)
            response = _problem_response(unavailable())
        except ClientDisconnect:
            response = Response(None, 400)  # nobody reads it
        if settings().cors_origins:
            _allow_origin(request, response)
        return response

    async def _dispatch(self, request: Request) -> Response:
        path: str = request.scope["path"]
        if handlers := self._exact.get(path):
            return await self._call(request, handlers)
        for pattern, handlers in self._patterns.items():
            if match := pattern.fullmatch(path):
                return await self._call(request, handlers, *match.groups())
        raise Problem("not-found", "See GET /v1/openapi.json for the paths that there are.")

    async def _call(self, request: Request, handlers: dict[str, Handler], *parameters: str) -> Response:
        if handler := handlers.get("GET" if request.method == "HEAD" else request.method):
            return await handler(request, *parameters)
        allowed = ", ".join(sorted({*handlers, "OPTIONS", *(["HEAD"] if "GET" in handlers else [])}))
        if request.method == "OPTIONS":
            return Response(None, 204, {"Allow": allowed, **_preflight(request, allowed)})
        raise Problem("method-not-allowed", f"Use one of: {allowed}.", headers={"Allow": allowed})


def _problem_response(problem: Problem) -> Response:
    return json_response(problem.body(), problem.status, problem.headers, "application/problem+json")


def _allow_origin(request: Request, response: Response) -> None:
    response.headers["Vary"] = "Origin"
    if (origin := request.headers.get("origin", "")) in settings().cors_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "Location, Retry-After, Idempotency-Replayed"


def _preflight(request: Request, allowed: str) -> dict[str, str]:
    if request.headers.get("origin", "") not in settings().cors_origins:
        return {}
    return {
        "Access-Control-Allow-Methods": allowed,
        "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key, traceparent",
        "Access-Control-Max-Age": _CORS_MAX_AGE_SECONDS,
    }
