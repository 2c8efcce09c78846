"""Run the steps of reconcile, one after the other; one that fails doesn't stop the others.

A run whose steps left work undone (the queue is away, or there was more than one pass takes) looks again until the next
run is near, so that work goes on within seconds of the queue's return.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from common.charges import Charges
from common.database import Database
from common.logs import log
from common.publisher import Publisher
from common.reconcile import audit, close_drops, erase_personal_data, expire_holds, look_up, republish, wake_payments
from common.reconcile.step import Outcome
from common.refunds import Refunds
from common.settings import (
    AUDIT_SECONDS,
    AUDIT_STATEMENT_SECONDS,
    CLOSE_LIMIT,
    ERASE_LIMIT,
    EXPIRE_LIMIT,
    LOOK_UP_SECONDS,
    ORDERS_TOPIC,
    PAYMENTS_TOPIC,
    RECONCILE_SECONDS,
    REPUBLISH_LIMIT,
    settings,
)
from common.stripe_payments import StripePayments
from common.worker import start_worker


class Reconcile:
    """The steps and the clients that they share, for one instance."""

    def __init__(self) -> None:
        start_worker()
        values = settings()
        database = Database(values.database_url)
        auditor = Database(values.database_url, AUDIT_STATEMENT_SECONDS)
        publisher = Publisher(values.project, ORDERS_TOPIC, values.pubsub_emulator_host)
        self._steps: dict[str, Callable[[], Awaitable[Outcome]]] = {
            "republish": lambda: republish.run_once(database, publisher, REPUBLISH_LIMIT),
        }
        if values.takes_payments:
            provider = StripePayments(values.stripe_api_key, values.stripe_api_base)
            charges, refunds = Charges(database, provider, values.payments_per_second), Refunds(database, provider)
            wake_ups = Publisher(values.project, PAYMENTS_TOPIC, values.pubsub_emulator_host)
            self._steps |= {
                # in this order: whoever has paid in time is confirmed before his time is found to be over
                "look_up": lambda: look_up.run_once(charges, refunds, LOOK_UP_SECONDS),
                "expire_holds": lambda: expire_holds.run_once(database, EXPIRE_LIMIT),
                "wake_payments": lambda: wake_payments.run_once(database, wake_ups),
            }

        self._steps |= {
            "close_drops": lambda: close_drops.run_once(database, CLOSE_LIMIT),
            "audit": lambda: audit.run_once(database, auditor, AUDIT_SECONDS),
            "erase_personal_data": lambda: erase_personal_data.run_once(database, ERASE_LIMIT, values.retention_days),
        }

    async def run(self) -> tuple[dict[str, Any], bool]:
        """A report with the counts of every step, summed up, or its error; and whether all went well."""
        deadline = time.monotonic() + RECONCILE_SECONDS
        totals: dict[str, Counter[str]] = {name: Counter() for name in self._steps}
        while True:
            errors, again_seconds = await self._run_once(totals)
            if errors or again_seconds is None or time.monotonic() + again_seconds > deadline:
                return {**totals, **errors}, not errors
            await asyncio.sleep(again_seconds)

    async def _run_once(self, totals: dict[str, Counter[str]]) -> tuple[dict[str, Any], float | None]:
        errors: dict[str, Any] = {}
        again: list[float] = []
        for name, step in self._steps.items():
            try:
                outcome = await step()
            except Exception as error:  # whatever it is, the other steps have their work to do
                log(logging.ERROR, "a step of reconcile failed", error=error, step=name)
                errors[name] = {**totals[name], "error": type(error).__name__}
            else:
                totals[name].update(outcome.counts)
                if outcome.again_seconds is not None:
                    again.append(outcome.again_seconds)
        return errors, min(again, default=None)


@lru_cache(maxsize=1)
def reconcile_steps() -> Reconcile:
    """The instance's one Reconcile, made by its first request, after the worker process has started."""
    return Reconcile()
