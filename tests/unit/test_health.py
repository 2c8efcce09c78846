"""Coming up on a crowded machine: a call of checkout's health that stays silent is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from local.health import wait_for_health
from local.machine import LocalError

LONG_SECONDS = 60.0  # never waited for: what is asked for comes first
SHORT_SECONDS = 0.05

Answer = Callable[[], Awaitable[web.Response]]


@asynccontextmanager
async def checkout(answers: list[Answer]) -> AsyncIterator[str]:
    """A checkout whose health answers with these in turn, and with the last of them for ever."""

    async def health(_: web.Request) -> web.Response:
        return await (answers.pop(0) if len(answers) > 1 else answers[0])()

    app = web.Application()
    app.router.add_get("/v1/health", health)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name
    finally:
        await runner.cleanup()


async def silent() -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def broken() -> web.Response:
    return web.Response(status=500, text="not JSON")


async def degraded() -> web.Response:
    return web.json_response({"status": "degraded", "queue": "down"}, status=200)


async def well() -> web.Response:
    return web.json_response({"status": "ok"})


@pytest.mark.parametrize("first", [silent, broken, degraded])
async def test_it_asks_again_until_all_is_well(first: Answer) -> None:
    async with checkout([first, first, well]) as url:
        await wait_for_health(url, LONG_SECONDS, SHORT_SECONDS)


async def test_a_checkout_that_stays_degraded_is_told_with_what_it_said() -> None:
    async with checkout([degraded]) as url:
        with pytest.raises(LocalError, match=r"not healthy: .*queue"):
            await wait_for_health(url, within_seconds=0.5)


async def test_a_checkout_that_stays_silent_is_told_too() -> None:
    async with checkout([silent]) as url:
        with pytest.raises(LocalError, match="not healthy: no answer"):
            await wait_for_health(url, within_seconds=0.3, call_seconds=SHORT_SECONDS)
