"""The baselines do their job: a comparison with what oversells or forgets would be worth nothing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from psycopg.rows import dict_row

from loadtest import baselines
from loadtest.driving import drive
from loadtest.lab import BASELINE_DATABASE, Lab, make_lab
from loadtest.payloads import checkouts, order_document, pushes
from loadtest.serving import BenchError, Server, function, wait_until_answered
from loadtest.sides import PG8000, PSYCOPG, BaselineSide
from local.recipes import PROJECT

REQUEST_SECONDS = 30.0
STOCK, BUYERS = 10, 30
DRIVERS = [PG8000, PSYCOPG]
IDS = ["pg8000", "psycopg"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with make_lab() as made:
        yield made


@pytest.fixture(scope="module", params=DRIVERS, ids=IDS)
def side(request: pytest.FixtureRequest) -> BaselineSide:
    made: BaselineSide = request.param
    return made


@pytest.fixture(scope="module")
def checkout(lab: Lab, side: BaselineSide) -> Iterator[Server]:
    with side.serve(lab, "checkout", connections=8) as server:
        wait_until_answered(server)
        yield server


@pytest.fixture(scope="module")
def process_order(lab: Lab, side: BaselineSide) -> Iterator[Server]:
    with side.serve(lab, "process_order", connections=BUYERS) as server:
        wait_until_answered(server)
        yield server


def ask(server: Server, key: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/checkout",
        json.dumps(document).encode(),
        {"Content-Type": "application/json", "Idempotency-Key": key},
    )
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def rows(lab: Lab, statement: str, *values: object) -> list[dict[str, Any]]:
    with lab.connect(BASELINE_DATABASE) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, values).fetchall()


@contextmanager
def subscribed(lab: Lab) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A subscription of the orders topic; yields what takes its messages, which are there once they are published."""
    name = f"projects/{PROJECT}/subscriptions/{lab.new_id('pull')}"
    with grpc.insecure_channel(f"127.0.0.1:{lab.queue.port}") as channel:
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        topic = f"projects/{PROJECT}/topics/orders"
        subscriber.create_subscription(name=name, topic=topic, timeout=REQUEST_SECONDS)
        yield lambda: [
            json.loads(received.message.data)
            for received in subscriber.pull(
                subscription=name, max_messages=10, timeout=REQUEST_SECONDS
            ).received_messages
        ]
        subscriber.delete_subscription(subscription=name, timeout=REQUEST_SECONDS)


def test_an_order_is_stored_once_with_its_event_and_published(lab: Lab, side: BaselineSide, checkout: Server) -> None:
    drop_id = lab.new_id("once")
    side.open_drop(lab, drop_id, ["A"], price=250)
    document = order_document(drop_id, "A", 1)
    with subscribed(lab) as pull:
        status, first = ask(checkout, "key", document)
        assert (status, first["status"]) == (202, "accepted")
        assert ask(checkout, "key", document) == (202, first)
        [message] = pull()
    assert message["order_id"] == first["order_id"]
    assert message["request"] == document
    [order] = rows(lab, "SELECT * FROM orders WHERE drop_id = %s", drop_id)
    assert (str(order["id"]), order["status"], order["amount_minor"]) == (first["order_id"], "accepted", 250)
    assert order["request"] == document
    events = rows(lab, "SELECT seq, type FROM events WHERE order_id = %s", order["id"])
    assert events == [{"seq": 1, "type": "order.accepted"}]


def test_many_requests_under_one_key_at_once_make_one_order(lab: Lab, side: BaselineSide, checkout: Server) -> None:
    drop_id = lab.new_id("race")
    side.open_drop(lab, drop_id, ["A"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(checkout, "key", order_document(drop_id, "A", 1)), range(40)))
    assert {status for status, _ in answers} == {202}
    assert len({body["order_id"] for _, body in answers}) == 1
    assert side.count(lab, drop_id) == (1, 0)


def test_refusals_come_after_replays(lab: Lab, side: BaselineSide, checkout: Server) -> None:
    drop_id = lab.new_id("refusals")
    side.open_drop(lab, drop_id, ["A"], stock=1)
    document = order_document(drop_id, "A", 1)
    assert ask(checkout, "key", document)[0] == 202
    assert ask(checkout, "key", order_document(drop_id, "A", 2))[0] == 422
    assert ask(checkout, "other", order_document(drop_id, "B", 1))[0] == 422
    assert ask(checkout, "other", {"drop_id": drop_id})[0] == 422
    with lab.connect(BASELINE_DATABASE) as connection:
        connection.execute("UPDATE items SET sold = stock WHERE drop_id = %s", [drop_id])
    assert ask(checkout, "other", document)[0] == 409
    assert ask(checkout, "key", document)[0] == 202
    assert side.count(lab, drop_id)[0] == 1


def sell_out(lab: Lab, side: BaselineSide, server: Server) -> str:
    """More buyers than units, every message twice, all at the same time."""
    drop_id = lab.new_id("hot")
    side.open_drop(lab, drop_id, ["A"], stock=STOCK)
    messages = side.accept(lab, drop_id, ["A"], BUYERS)
    requests = list(pushes([message for message in messages for _ in range(2)]))
    drive(lab, server, requests, connections=BUYERS, seconds=REQUEST_SECONDS, expect=204, warmup=0.0)
    return drop_id


def statuses(lab: Lab, drop_id: str) -> dict[str, int]:
    counted = rows(lab, "SELECT status, count(*) FROM orders WHERE drop_id = %s GROUP BY 1", drop_id)
    return {row["status"]: row["count"] for row in counted}


def test_a_hot_sku_sells_its_stock_and_no_more(lab: Lab, side: BaselineSide, process_order: Server) -> None:
    drop_id = sell_out(lab, side, process_order)
    assert statuses(lab, drop_id) == {"reserved": STOCK, "sold_out": BUYERS - STOCK}
    assert side.count(lab, drop_id) == (BUYERS, STOCK)
    decided = rows(
        lab,
        "SELECT type, count(*) FROM events JOIN orders ON orders.id = order_id"
        " WHERE drop_id = %s AND seq = 2 GROUP BY 1",
        drop_id,
    )
    types = {row["type"]: row["count"] for row in decided}
    assert types == {"order.reserved": STOCK, "order.sold_out": BUYERS - STOCK}


def test_control_without_its_lock_the_baseline_oversells(lab: Lab, tmp_path: Path) -> None:
    source = Path(str(baselines.__file__)).with_name("process_order.py").read_text()
    unlocked = source.replace(".with_for_update()", "").replace(
        "        enough =", "        time.sleep(0.3)\n        enough ="
    )
    assert unlocked.count(".with_for_update()") == 0
    assert unlocked.count("time.sleep") == 1
    copy = tmp_path / "process_order.py"
    copy.write_text(unlocked.replace("import json\n", "import json\nimport time\n"))
    with lab.connect(BASELINE_DATABASE) as connection:
        connection.execute("ALTER TABLE items DROP CONSTRAINT items_never_oversold")
        try:
            with function(copy, tmp_path, lab.baseline_environment("psycopg", BUYERS)) as server:
                wait_until_answered(server)
                drop_id = sell_out(lab, PSYCOPG, server)
        finally:
            connection.execute("UPDATE items SET sold = stock WHERE sold > stock")
            connection.execute("ALTER TABLE items ADD CONSTRAINT items_never_oversold CHECK (sold BETWEEN 0 AND stock)")
    assert statuses(lab, drop_id)["reserved"] > STOCK


def test_other_answers_than_the_expected_ones_are_an_error(lab: Lab, side: BaselineSide, checkout: Server) -> None:
    requests = checkouts("no-such-drop", ["A"], 20)
    with pytest.raises(BenchError, match="422"):
        drive(lab, checkout, requests, connections=2, seconds=REQUEST_SECONDS, expect=202, warmup=0.0)
