"""A TCP proxy that adds time on the way to a server, and counts round trips, in a process of its own.

What comes in is sent on after the delay, in both directions; all connections share one queue, since with one delay for
all what comes first is due first. It waits in `select`, whose time-out is precise to microseconds, where the event
loops' timers (epoll's) count in whole milliseconds.

python -m loadtest.proxy --listen 5433 --to 5432 --delay-ms 0.5

It prints `listening`. A line on its standard input is a new delay in milliseconds, or empty; it answers each with a
line: the round trips so far (a burst from the client that the server then answered). It ends with its standard input.
"""

from __future__ import annotations

import select
import selectors
import socket
import sys
import time
from collections import deque
from contextlib import suppress

import click

HOST = "127.0.0.1"
READ_BYTES = 256 * 1024
SEND_SECONDS = 10.0  # a peer that reads nothing for so long is gone
BACKLOG = 512


class Side:
    """One end of a connection through the proxy."""

    def __init__(self, sock: socket.socket, is_client: bool) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(SEND_SECONDS)
        self.socket, self.is_client = sock, is_client
        self.peer: Side = self
        self.asked = False  # the client's side: a burst has come in that has no answer yet
        self.ended = False  # it was told that its peer has nothing more to say


class Proxy:
    """All connections to one server, `delay` seconds away in each direction."""

    def __init__(self, listener: socket.socket, to_port: int, delay: float) -> None:
        self._listener, self._to_port, self._delay = listener, to_port, delay
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._due: deque[tuple[float, Side, bytes]] = deque()
        self.round_trips = 0

    def serve(self) -> None:
        """Run until the standard input ends."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select(self._wait()):
                if isinstance(key.data, Side):
                    self._receive(key.data)
                elif key.fileobj is self._listener:
                    self._accept()
                elif not self._answer_question():
                    return
            self._send_due()

    def _wait(self) -> float | None:
        """Sleep until something comes in or is due; the selector's own time-out after that."""
        if not self._due:
            return None
        if (seconds := self._due[0][0] - time.perf_counter()) > 0:
            select.select([self._selector], [], [], seconds)
        return 0

    def _accept(self) -> None:
        client = Side(self._listener.accept()[0], is_client=True)
        server = Side(socket.create_connection((HOST, self._to_port)), is_client=False)
        client.peer, server.peer = server, client
        for side in (client, server):
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _receive(self, side: Side) -> None:
        try:
            data = side.socket.recv(READ_BYTES)
        except OSError:
            data = b""
        client = side if side.is_client else side.peer
        if side.is_client:
            client.asked = bool(data)
        elif client.asked:
            client.asked = False
            self.round_trips += 1
        if not data:
            self._selector.unregister(side.socket)
        if self._delay:
            self._due.append((time.perf_counter() + self._delay, side.peer, data))
        else:
            _send(side.peer, data)

    def _send_due(self) -> None:
        now = time.perf_counter()
        while self._due and self._due[0][0] <= now:
            _, side, data = self._due.popleft()
            _send(side, data)

    def _answer_question(self) -> bool:
        if not (line := sys.stdin.readline()):
            return False
        if line.strip():
            self._delay = float(line) / 1000
        print(self.round_trips, flush=True)
        return True


def _send(side: Side, data: bytes) -> None:
    """Hand data on, or the end of it."""
    with suppress(OSError):  # it hung up first; its own end comes through the selector
        if data:
            side.socket.sendall(data)
        else:
            side.ended = True
            side.socket.shutdown(socket.SHUT_WR)
    if side.ended and side.peer.ended:
        side.socket.close()
        side.peer.socket.close()


@click.command()
@click.option("--listen", type=int, required=True)
@click.option("--to", type=int, required=True)
@click.option("--delay-ms", type=float, required=True, help="In each direction.")
def main(listen: int, to: int, delay_ms: float) -> None:
    """Stand between clients and a server on this machine."""
    listener = socket.create_server((HOST, listen), backlog=BACKLOG)
    print("listening", flush=True)
    Proxy(listener, to, delay_ms / 1000).serve()


if __name__ == "__main__":
    main()
