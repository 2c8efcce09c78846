"""Wait until checkout says of itself that everything it needs is there."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp

from local.machine import LocalError

CALL_SECONDS = 3.0
POLL_SECONDS = 0.1


async def wait_for_health(url: str, within_seconds: float, call_seconds: float = CALL_SECONDS) -> None:
    """Ask the checkout at `url` until it says `ok`. A call that stays without an answer is one try, not the end.

    Raises:
        LocalError: it didn't within `within_seconds`; the text has what it said last.
    """
    health: object = "no answer"
    try:
        async with (
            asyncio.timeout(within_seconds),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=call_seconds)) as session,
        ):
            while not (isinstance(health, dict) and health.get("status") == "ok"):
                await asyncio.sleep(POLL_SECONDS)
                with suppress(aiohttp.ClientError, TimeoutError, ValueError):
                    async with session.get(f"{url}/v1/health") as answer:
                        health = await answer.json(content_type=None)
    except TimeoutError:
        raise LocalError(f"checkout is up, but not healthy: {health}") from None
