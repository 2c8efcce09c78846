"""`stack.json`: where the parts answer, and which processes do the work, kept true."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import psutil

from local.database import DATABASE
from local.parts import Part
from local.recipes import Recipes


class Stack:
    """What the file says; `update` looks at the processes again and writes the file if something changed."""

    def __init__(self, recipes: Recipes) -> None:
        self._data_dir = recipes.data_dir
        self._pids: dict[str, int] = {}
        self._written: dict[str, Any] | None = None
        self.addresses = {
            "checkout_url": recipes.url("checkout"),
            "process_order_url": recipes.url("process_order"),
            "charge_order_url": recipes.url("charge_order"),
            "reconcile_url": recipes.url("reconcile"),
            "stripe_url": recipes.url("stripe"),
            "pubsub_emulator_host": recipes.pubsub_host,
            "database_url": recipes.postgres.url(DATABASE),
        }

    def update(self, parts: list[Part]) -> None:
        children = _children()
        pids: dict[str, int] = {}
        for part in parts:
            if part.leader is None:
                continue
            if part.workers:
                pids |= assign(worker_names(part), children[part.leader.pid], self._pids)
            else:
                pids[part.name] = part.leader.pid
        self._pids = pids
        stack = {**self.addresses, "pids": pids}
        if stack != self._written:
            self._data_dir.write_stack(stack)
            self._written = stack


def worker_names(part: Part) -> list[str]:
    """A part's processes: its own name, or a number for each if there are several."""
    if part.workers == 1:
        return [part.name]
    return [f"{part.name}-{number}" for number in range(1, part.workers + 1)]


def assign(names: list[str], workers: list[int], before: dict[str, int]) -> dict[str, int]:
    """Name the workers: who is still there keeps its name, and who is new takes one that became free."""
    named = {name: before[name] for name in names if before.get(name) in workers}
    new = [pid for pid in workers if pid not in named.values()]
    free = [name for name in names if name not in named]
    return dict(sorted({**named, **dict(zip(free, new, strict=False))}.items()))


def _children() -> dict[int, list[int]]:
    """The processes below this one, by their parent: one look at the process table for all parts."""
    children = defaultdict(list)
    for process in psutil.Process().children(recursive=True):
        try:
            children[process.ppid()].append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return children
