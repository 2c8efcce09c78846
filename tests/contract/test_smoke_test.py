"""The smoke test of a deployment: a sound engine passes, and each way of being wrong is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from local.machine import free_port
from tests.outages import Queue
from tests.serving import ROOT, serve

SECONDS = 60.0


def smoke_test(url: str, within: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "terraform" / "smoke_test.py"), url, "--within", str(within)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


def test_an_engine_that_works_passes(api_database: str, tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    queue.start()
    try:
        with serve("checkout", api_database, PUBSUB_EMULATOR_HOST=queue.host) as url:
            done = smoke_test(url + "/", SECONDS / 2)
    finally:
        queue.kill()
    assert (done.returncode, done.stderr) == (0, "")


def test_an_engine_without_its_queue_does_not(api_database: str) -> None:
    with serve("checkout", api_database) as url:
        done = smoke_test(url, 1)
    assert done.returncode == 1
    assert "'queue': 'down'" in done.stderr


def test_where_nobody_answers_it_says_so() -> None:
    done = smoke_test(f"http://127.0.0.1:{free_port()}", 0.1)
    assert done.returncode == 1
    assert "/v1/health" in done.stderr
    assert "refused" in done.stderr


@pytest.mark.parametrize("wrong", ["/v1/openapi.json", "/v1/checkout", "/"])
async def test_each_look_can_fail(wrong: str) -> None:
    """Whatever else the load balancer leads to, says 200 to everything, and is no engine."""
    sound = {
        "/v1/health": (200, {"status": "ok"}),
        "/v1/openapi.json": (200, {"paths": {"/v1/checkout": {}}}),
        "/v1/checkout": (400, {"type": "/problems/idempotency-key-missing"}),
    }

    async def answer(request: web.BaseRequest) -> web.Response:
        status, body = (200, {}) if request.path == wrong else sound.get(request.path, (404, {}))
        return web.json_response(body, status=status)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    done = await asyncio.to_thread(smoke_test, f"http://127.0.0.1:{port}", 0.1)
    await runner.cleanup()
    assert done.returncode == 1
    assert f"{port}{wrong}: " in done.stderr
