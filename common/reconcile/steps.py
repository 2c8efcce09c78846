"""Run the steps of reconcile, one after the other; one that fails doesn't stop the others."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from common.database import Database
from common.logs import configure_logging, log
from common.publisher import Publisher
from common.reconcile import republish
from common.settings import ORDERS_TOPIC, REPUBLISH_LIMIT, settings


class Reconcile:
    """The steps and the clients that they share, for one instance."""

    def __init__(self) -> None:
        configure_logging()
        values = settings()
        database = Database(values.database_url)
        publisher = Publisher(values.project, ORDERS_TOPIC, values.pubsub_emulator_host)
        self._steps: dict[str, Callable[[], Awaitable[dict[str, int]]]] = {
            "republish": lambda: republish.run_once(database, publisher, REPUBLISH_LIMIT),
        }

    async def run_once(self) -> tuple[dict[str, Any], bool]:
        """A report with the counts of every step, or its error, and whether all went well."""
        report: dict[str, Any] = {}
        failed = False
        for name, run in self._steps.items():
            try:
                report[name] = await run()
            except Exception as error:  # whatever it is, the other steps have their work to do
                failed = True
                log(logging.ERROR, "a step of reconcile failed", error=error, step=name)
                report[name] = {"error": type(error).__name__}
        return report, not failed


@lru_cache(maxsize=1)
def reconcile_steps() -> Reconcile:
    """The instance's one Reconcile, made by its first request, after the worker process has started."""
    return Reconcile()
