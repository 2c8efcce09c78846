"""`merchdrop up` as people run it: it comes up whole, mends what dies, and leaves nothing behind."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import asyncpg
import psutil
import pytest

from local.machine import processes_in
from tests.end_to_end.engine import STOP_SECONDS, UP_SECONDS, Engine, alive, eventually


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("up") / "data", "--instances", "2")
    try:
        engine.wait_until_ready()
        yield engine
    finally:
        engine.stop()


async def test_stack_file_tells_where_everything_is(engine: Engine) -> None:
    stack = engine.stack()
    assert stack["checkout_url"] == f"http://127.0.0.1:{engine.port}"
    assert set(stack["pids"]) == {
        "postgres",
        "pubsub",
        "stripe",
        *(f"{function}-{n}" for function in ("checkout", "process_order", "charge_order", "reconcile") for n in (1, 2)),
    }
    assert all(psutil.pid_exists(pid) for pid in stack["pids"].values())
    connection = await asyncpg.connect(stack["database_url"])
    try:
        assert await connection.fetchval("SELECT count(*) FROM items WHERE drop_id = 'tee-drop'") == 2
    finally:
        await connection.close()


def test_only_the_owner_can_read_secrets(engine: Engine) -> None:
    for name in ("secrets.json", "stack.json"):
        assert stat.S_IMODE((engine.data_dir / name).stat().st_mode) == 0o600


def test_an_order_is_accepted_and_confirmed(engine: Engine) -> None:
    assert engine.order("buyer-1")


def test_every_server_listens_on_this_machine_only(engine: Engine) -> None:
    listening = [
        connection.laddr.ip
        for process in engine.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}  # gRPC writes it the long way


def test_a_killed_worker_is_replaced_under_its_name(engine: Engine) -> None:
    first, second = engine.pid("checkout-1"), engine.pid("checkout-2")
    psutil.Process(second).kill()
    engine.wait_for_another("checkout-2", second)
    assert engine.pid("checkout-1") == first
    assert eventually(lambda: engine.call("/v1/health")["status"] == "ok")


def test_a_killed_master_takes_its_workers_along_and_is_started_again(engine: Engine) -> None:
    workers = [psutil.Process(engine.pid(f"checkout-{number}")) for number in (1, 2)]
    psutil.Process(workers[0].ppid()).kill()
    for number, worker in enumerate(workers, start=1):
        engine.wait_for_another(f"checkout-{number}", worker.pid)
    assert not any(alive(worker) for worker in workers)
    assert eventually(lambda: engine.call("/v1/health")["status"] == "ok")


@pytest.mark.parametrize("name", ["postgres", "pubsub"])
def test_a_killed_part_comes_back_and_orders_go_through(engine: Engine, name: str) -> None:
    old = engine.pid(name)
    psutil.Process(old).kill()
    engine.wait_for_another(name, old)
    # An order that came in the meantime waits for reconcile, which would take a minute.
    keys = (f"after {name} died, {number}" for number in count())
    assert eventually(lambda: engine.order(next(keys), seconds=1))


@pytest.mark.parametrize("name", ["postgres", "checkout", "scheduler"])
def test_a_stopped_part_stays_down_until_it_is_started(engine: Engine, name: str) -> None:
    assert engine.local("stop", name).returncode == 0
    assert not [part for part in engine.stack()["pids"] if part.startswith(name)]
    assert engine.local("start", name).returncode == 0
    assert eventually(lambda: engine.call("/v1/health")["status"] == "ok")


def test_a_part_that_is_unknown_is_named_with_those_that_are_not(engine: Engine) -> None:
    result = engine.local("stop", "database")
    assert result.returncode == 1
    assert "there is no part database; the parts are charge_order, checkout, postgres" in result.stderr


def test_a_second_engine_on_the_same_data_is_refused(engine: Engine) -> None:
    second = Engine(engine.data_dir, "--no-sample-drop")
    assert second.process.wait(UP_SECONDS) == 1
    assert f"an engine (process {engine.process.pid}) runs on" in second.output.read_text()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        engine = Engine(tmp_path / "data", "--port", str(port))
        assert engine.process.wait(UP_SECONDS) == 1
    assert f"port {port} is taken" in engine.output.read_text()


def test_an_engine_that_was_killed_is_cleared_away_and_its_data_kept(tmp_path: Path) -> None:
    killed = Engine(tmp_path / "data")
    killed.wait_until_ready()
    order = killed.order("buyer-1")
    assert order
    left = killed.processes()[1:]
    killed.process.kill()
    killed.process.wait()
    assert any(alive(process) for process in left)

    engine = Engine(tmp_path / "data")
    engine.wait_until_ready()
    assert not any(alive(process) for process in left)
    assert engine.order("buyer-1") == order
    processes = engine.processes()
    engine.process.terminate()
    assert engine.process.wait(STOP_SECONDS) == 0
    assert not any(alive(process) for process in processes)
    assert not processes_in(tmp_path / "data" / "postgres")
    assert not (tmp_path / "data" / "stack.json").exists()


def test_a_stop_in_the_middle_of_the_start_leaves_nothing(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "data")
    eventually(lambda: (tmp_path / "data" / "stack.json").exists(), UP_SECONDS)
    processes = engine.processes()
    assert engine.stop() == 0
    assert not any(alive(process) for process in processes)
    assert not processes_in(tmp_path / "data" / "postgres")
