"""What the local engine asks of the machine: free ports, files never half written, processes that end."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

HOST = "127.0.0.1"
# Below the range that systems give to outgoing connections: one of those could sit on a part's port while the
# part is down, and a client that keeps trying such a port may even end up connected to itself.
PORTS = range(20_000, 32_000)
PORT_ATTEMPTS = 200
# A process that was sent SIGKILL is gone in milliseconds, unless the kernel itself is stuck.
KILL_SECONDS = 5.0


class LocalError(Exception):
    """Something on this machine is in the way; the text tells a person what to do about it."""


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port` now (a closed connection's leftovers don't count)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(avoid: Iterable[int] = ()) -> int:
    """A port that nobody listens on, chosen at random so that two engines hardly ever choose the same."""
    taken = set(avoid)
    for _ in range(PORT_ATTEMPTS):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if port not in taken and port_is_free(port):
            return port
    raise LocalError(f"found no free port between {PORTS.start} and {PORTS.stop}; is this machine very busy?")


def write_json(path: Path, content: Any) -> None:
    """Replace a file in one step, readable by its owner alone: a reader sees the old content or the new."""
    temporary = path.with_name(path.name + ".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """A file's content; empty if there is no such file."""
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LocalError(f"{path} is damaged ({error}); restore it, or use another --data-dir") from error
    return content


def group_members(group: int) -> list[psutil.Process]:
    """The living processes of a process group, its leader or not."""
    members = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(pid) == group:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
    return members


def processes_in(directory: Path) -> list[psutil.Process]:
    """The processes that work in this directory: PostgreSQL's all leave their parent's process group."""
    wanted = str(directory.resolve())
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == wanted]


def kill(processes: Iterable[psutil.Process]) -> None:
    """End processes at once, and wait until they are gone: until then they hold their ports."""
    killed = []
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
            killed.append(process)
    deadline = time.monotonic() + KILL_SECONDS
    while any(_alive(process) for process in killed) and time.monotonic() < deadline:
        time.sleep(0.005)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
