"""Reconcile as it is deployed: its steps together, and how long a run goes on."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.order_ids import derive_order_id
from common.publisher import Message, Publisher
from common.reconcile.step import Outcome
from common.reconcile.steps import Reconcile
from local.recipes import PROJECT
from tests.conftest import Engine
from tests.integration.test_reservations import OPEN, message
from tests.outages import Queue
from tests.serving import SECRETS, serve

RUN_SECONDS = 60.0


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    queue.start()
    queue.deliver_to("http://127.0.0.1:1")
    yield queue
    queue.kill()


async def test_a_dead_letter_becomes_an_order_whose_events_are_told_in_one_run(engine: Engine, queue: Queue) -> None:
    await engine.create_drop(items={"M": 9}, **OPEN)
    secret = bytes.fromhex(json.loads(SECRETS)["1"])
    one = message("a", order_id=derive_order_id(secret, "drop", "a"))
    publisher = Publisher(PROJECT, "orders-dead-letter", queue.host)
    await publisher.publish([Message.of(one, {})])
    await publisher.close()

    def run() -> dict[str, Any]:
        with serve("reconcile", f"{engine.url}?role=merchdrop_reconcile", PUBSUB_EMULATOR_HOST=queue.host) as url:
            request = urllib.request.Request(url, method="POST")
            with urllib.request.urlopen(request, timeout=RUN_SECONDS) as answer:
                return dict(json.load(answer))

    report = await asyncio.to_thread(run)
    assert report["dead_letters"] == {"taken_in": 1, "left": 0}
    assert report["relay_events"] == {"relayed": 3, "held_back": 0}
    told = [json.loads(each.message.data) for each in queue.take(f"projects/{PROJECT}/subscriptions/order-events")]
    assert [event["order"]["status"] for event in told] == ["accepted", "reserved", "confirmed"]


async def test_a_step_that_has_more_goes_on_alone() -> None:
    """A busy step makes nobody else look again for nothing, and what is to be looked at later waits."""
    left = {"busy": 3, "quiet": 1, "later": 1}
    runs: list[str] = []

    def step(name: str, again_seconds: float | None) -> Any:
        async def run() -> Outcome:
            runs.append(name)
            left[name] -= 1
            return Outcome({"runs": 1}, again_seconds if left[name] or name == "later" else None)

        return run

    reconcile = Reconcile.__new__(Reconcile)
    reconcile._steps = {"busy": step("busy", 0), "quiet": step("quiet", None), "later": step("later", 1e6)}
    assert await reconcile.run() == ({"busy": {"runs": 3}, "quiet": {"runs": 1}, "later": {"runs": 1}}, True)
    assert runs == ["busy", "quiet", "later", "busy", "busy"]


async def test_a_step_that_fails_does_not_stop_the_others_which_go_on_with_what_they_left() -> None:
    again = iter((0.0, None))

    async def fails() -> Outcome:
        raise ValueError

    async def works() -> Outcome:
        return Outcome({"runs": 1}, next(again))

    reconcile = Reconcile.__new__(Reconcile)
    reconcile._steps = {"fails": fails, "works": works}
    assert await reconcile.run() == ({"fails": {"error": "ValueError"}, "works": {"runs": 2}}, False)
