"""The data directory: what the engine on this machine remembers, and how commands find it.

`stack.json` is for everyone (see the README); `supervisor.json` is the supervisor's own record of its parts;
`stopped/NAME` is the wish that a part be down.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.machine import LocalError, free_port, port_is_free, read_json, write_json


class DataDir:
    """The files of one engine."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.postgres = self.path / "postgres"
        self.pubsub_journal = self.path / "pubsub.journal"
        self.stripe_journal = self.path / "stripe.journal"
        self._stack = self.path / "stack.json"
        self._record = self.path / "supervisor.json"
        self._stopped = self.path / "stopped"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only engine on this directory; the lock ends with the process, however it ends."""
        # As root, PostgreSQL runs as somebody else, who has to pass through (not to read).
        self.path.mkdir(mode=0o700 if os.geteuid() else 0o711, parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise LocalError(
                    f"an engine (process {lock.read().strip() or 'unknown'}) runs on {self.path} already; "
                    "stop it first, or give this one another --data-dir (and --port)"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def is_locked(self) -> bool:
        """Whether an engine runs on this directory."""
        try:
            with (self.path / "lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def secret(self, name: str, size: int = 32) -> str:
        """A secret in hexadecimal digits: drawn on first use, the same for ever."""
        path = self.path / "secrets.json"
        known = read_json(path)
        if name not in known:
            known[name] = secrets.token_hex(size)
            write_json(path, known)
        return str(known[name])

    @property
    def stripe_api_key(self) -> str:
        """The key that the stand-in for Stripe is called with: it takes any of this form."""
        return f"sk_test_{self.secret('stripe_api_key', 16)}"

    @property
    def stripe_webhook_secret(self) -> str:
        """What signs its webhooks."""
        return f"whsec_{self.secret('stripe_webhook', 16)}"

    def port(self, name: str, avoid: set[int]) -> int:
        """A part's port: the one it had last time, if that is still free."""
        path = self.path / "ports.json"
        known = read_json(path)
        if name not in known or known[name] in avoid or not port_is_free(known[name]):
            known[name] = free_port(avoid | set(known.values()))
            write_json(path, known)
        return int(known[name])

    def write_stack(self, stack: dict[str, Any]) -> None:
        write_json(self._stack, stack)

    def forget_stack(self) -> None:
        self._stack.unlink(missing_ok=True)

    def stack(self) -> dict[str, Any]:
        """What runs where; empty if nothing does."""
        return read_json(self._stack)

    def write_record(self, record: dict[str, Any]) -> None:
        write_json(self._record, record)

    def record(self) -> dict[str, Any]:
        """The parts by name: state, and process id and creation time of the group's leader."""
        return read_json(self._record)

    def stop(self, name: str) -> None:
        """Wish that a part be down."""
        self._stopped.mkdir(exist_ok=True)
        (self._stopped / name).touch()

    def start(self, name: str) -> None:
        """Wish that a part be up."""
        (self._stopped / name).unlink(missing_ok=True)

    def is_stopped(self, name: str) -> bool:
        return (self._stopped / name).exists()

    def clear_stopped(self) -> None:
        """Wishes end with the engine they were made to."""
        if self._stopped.is_dir():
            for wish in self._stopped.iterdir():
                wish.unlink()
