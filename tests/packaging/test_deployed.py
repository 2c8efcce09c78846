"""What is in a zip, and what its requirements.txt names, is all that a function needs: each is served from there."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from cli.package import function_zips
from common.messages import WAKE_UP
from tests.conftest import Engine, order
from tests.outages import Queue
from tests.serving import ROOT, served

INSTALL_SECONDS = 300
STRIPE = {"MERCHDROP_PAYMENT_PROVIDER": "stripe", "MERCHDROP_STRIPE_API_KEY": "sk_test_none"}
Deploy = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Deploy:
    """Unpacks a function's zip, installs its requirements, and serves it against a database.

    Functions with the same requirements share an environment.
    """
    _require_package_index(tmp_path_factory.mktemp("probe"))
    zips = function_zips(ROOT)

    @lru_cache
    def environment(pins: str) -> Path:
        place = tmp_path_factory.mktemp("environment")
        requirements = place / "requirements.txt"
        requirements.write_text(pins)
        python = place / "venv" / "bin" / "python"
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True, timeout=INSTALL_SECONDS
        )
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
        command = [*pip, "install", "--no-compile", "--require-hashes", "-r", str(requirements)]
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
        subprocess.run([*pip, "check"], check=True, timeout=INSTALL_SECONDS)  # as the builder does
        return place / "venv" / "bin"

    @contextmanager
    def deployed(function: str, database_url: str, **settings: str) -> Iterator[str]:
        folder = tmp_path_factory.mktemp(function)
        with ZipFile(io.BytesIO(zips[function])) as archive:
            archive.extractall(folder)
        lines = (folder / "requirements.txt").read_text().splitlines()
        pins = "\n".join(line for line in lines if not line.lstrip().startswith("#"))  # comments name the function
        source, binaries = folder / "main.py", environment(pins)
        with served(source, function, database_url, binaries, output=None, PYTHONPATH="", **settings) as (url, _):
            yield url

    return deployed


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    try:
        queue.start()
        queue.deliver_to("http://127.0.0.1:1")
        yield queue
    finally:
        queue.kill()


def _require_package_index(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    command += ["download", "--quiet", "--no-deps", "--dest", str(folder), "idna"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if found.returncode != 0:
        pytest.skip(f"no package index to install a function's requirements from: {found.stderr.strip()[-200:]}")


async def test_checkout_takes_an_order(deploy: Deploy, engine: Engine) -> None:
    await engine.create_drop()
    body = {"drop_id": "drop", "customer": {"id": "c-1"}, "items": [{"sku": "M", "quantity": 1}]}
    with deploy("checkout", engine.url) as url:
        assert _post(f"{url}/v1/checkout", body, {"Idempotency-Key": "key"}) == 202
    assert await engine.count("orders WHERE status = 'accepted'") == 1


async def test_process_order_reserves(deploy: Deploy, engine: Engine) -> None:
    await engine.create_drop()
    entry = order("key")
    await engine.accept(entry)
    message = {**entry, "schema_version": 1, "amount_minor": 0}
    del message["drop_id"], message["payable"]
    with deploy("process_order", engine.url) as url:
        assert _post(url, _push(message)) == 204
    assert await engine.count("orders WHERE status = 'confirmed'") == 1


async def test_charge_order_acknowledges_a_wake_up(deploy: Deploy, engine: Engine) -> None:
    with deploy("charge_order", engine.url, **STRIPE) as url:
        assert _post(url, _push(WAKE_UP)) == 204
    assert await engine.count("rejected_messages") == 0


async def test_reconcile_runs_its_steps(deploy: Deploy, engine: Engine, queue: Queue) -> None:
    with deploy("reconcile", engine.url, **STRIPE, PUBSUB_EMULATOR_HOST=queue.host) as url:
        assert _post(url, {}) == 200


def _push(document: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(document).encode()
    message_id = hashlib.sha256(data).hexdigest()[:16]
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id, "publishTime": "2026-11-24T12:00:00Z"}
    return {"message": message, "subscription": "projects/merchdrop-local/subscriptions/test"}


def _post(url: str, document: Any, headers: dict[str, str] | None = None) -> int:
    content = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, json.dumps(document).encode(), content)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)
