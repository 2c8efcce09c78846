"""The proxy hands everything on, adds its delay in both directions, and counts round trips."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from local.postgres import Postgres
from local.recipes import ROOT
from tests.serving import free_port

DELAY_SECONDS = 0.05
SOCKET_SECONDS = 30.0
MEGABYTE = bytes(range(256)) * 4096


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets, until the client has nothing more to say; then says goodbye."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"bye")


class Proxy:
    """A proxy in a process of its own."""

    def __init__(self, port: int, process: subprocess.Popen[str]) -> None:
        self.port, self._process = port, process

    def round_trips(self) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def proxied(to_port: int, delay_ms: float) -> Iterator[Proxy]:
    port = free_port()
    command = [sys.executable, "-m", "loadtest.proxy", "--listen", str(port), "--to", str(to_port)]
    command += ["--delay-ms", str(delay_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        yield Proxy(port, process)
    assert process.returncode == 0


@pytest.fixture
def echo_port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("delay_ms", [0, 2])
def test_bytes_come_through_unchanged_and_so_does_their_end(echo_port: int, delay_ms: float) -> None:
    with proxied(echo_port, delay_ms) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.settimeout(SOCKET_SECONDS)
        sender = threading.Thread(target=_send_all, args=(client,))
        sender.start()
        received = b""
        while data := client.recv(65536):
            received += data
        sender.join()
    assert received == MEGABYTE + b"bye"


def _send_all(client: socket.socket) -> None:
    client.sendall(MEGABYTE)
    client.shutdown(socket.SHUT_WR)


def test_connections_do_not_wait_for_each_other(echo_port: int) -> None:
    with proxied(echo_port, 1) as proxy:
        clients = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(50)]
        for number, client in enumerate(clients):
            client.settimeout(SOCKET_SECONDS)
            client.sendall(b"%02d" % number)
        assert [client.recv(2) for client in clients] == [b"%02d" % number for number in range(50)]
        for client in clients:
            client.close()


def test_each_round_trip_takes_the_delay_twice(echo_port: int) -> None:
    with proxied(echo_port, 1000 * DELAY_SECONDS) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port))
        client.settimeout(SOCKET_SECONDS)
        started = time.monotonic()
        for _ in range(3):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        elapsed = time.monotonic() - started
        client.close()
    assert elapsed >= 3 * 2 * DELAY_SECONDS  # more is the machine's doing; less would be the proxy's


def test_a_query_without_parameters_is_one_round_trip(postgres: Postgres) -> None:
    with proxied(postgres.port, 0) as proxy:
        url = postgres.url("postgres").replace(f":{postgres.port}/", f":{proxy.port}/")
        with psycopg.connect(url, autocommit=True) as connection:
            before = proxy.round_trips()
            for _ in range(10):
                connection.execute("SELECT 1", prepare=False)
            # a large answer comes in many pieces, and is one all the same
            rows = connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 5000)").fetchall()
            assert len(rows) == 5000
            assert proxy.round_trips() - before == 11
