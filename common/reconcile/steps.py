"""Run the steps of reconcile, one after the other; one that fails doesn't stop the others.

A step that left work undone (the queue is away, or there was more than one pass takes) goes on until the next run is
near, so that work goes on within seconds of the queue's return.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from typing import Any

from common.charges import Charges
from common.charging import Charging
from common.database import Database
from common.logs import log
from common.publisher import Publisher
from common.puller import Puller
from common.reconcile import (
    audit,
    close_drops,
    dead_letters,
    erase_personal_data,
    expire_holds,
    look_up,
    relay_events,
    republish,
    retries,
    wake_payments,
)
from common.reconcile.dead_letters import Handle
from common.reconcile.step import Outcome
from common.refunds import Refunds
from common.reservations import Reservations
from common.settings import (
    AUDIT_SECONDS,
    AUDIT_STATEMENT_SECONDS,
    CLOSE_LIMIT,
    DEAD_LETTER_LIMIT,
    DEAD_LETTERS,
    ERASE_LIMIT,
    EVENTS_TOPIC,
    EXPIRE_LIMIT,
    LOOK_UP_SECONDS,
    ORDERS_TOPIC,
    PAYMENTS_TOPIC,
    RECONCILE_SECONDS,
    RELAY_LIMIT,
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
        database = Database(values.database)
        auditor = Database(values.database, AUDIT_STATEMENT_SECONDS)

        def publisher(topic: str) -> Publisher:
            return Publisher(values.project, topic, values.pubsub_emulator_host)

        orders, events, wake_ups = publisher(ORDERS_TOPIC), publisher(EVENTS_TOPIC), publisher(PAYMENTS_TOPIC)
        reservations = Reservations(database, wake_ups, values.order_id_secrets)
        handlers: dict[str, Handle] = {ORDERS_TOPIC: partial(reservations.decide, is_dead_letter=True)}
        self._steps: dict[str, Callable[[], Awaitable[Outcome]]] = {
            "republish": lambda: republish.run_once(database, orders, REPUBLISH_LIMIT),
        }
        if values.takes_payments:
            provider = StripePayments(values.stripe_api_key, values.stripe_api_base)
            charges, refunds = Charges(database, provider, values.payments_per_second), Refunds(database, provider)
            charging = Charging(database, charges, refunds, wake_ups)
            handlers[PAYMENTS_TOPIC] = partial(charging.handle, is_dead_letter=True)
            self._steps |= {
                # in this order: whoever has paid in time is confirmed before his time is found to be over
                "look_up": lambda: look_up.run_once(charges, refunds, LOOK_UP_SECONDS),
                "expire_holds": lambda: expire_holds.run_once(database, wake_ups, EXPIRE_LIMIT),
                "wake_payments": lambda: wake_payments.run_once(database, wake_ups),
            }
        dead = {
            Puller(values.project, DEAD_LETTERS.format(topic), values.pubsub_emulator_host): handle
            for topic, handle in handlers.items()
        }
        self._steps |= {
            "dead_letters": lambda: dead_letters.run_once(database, dead, DEAD_LETTER_LIMIT),
            "retries": lambda: retries.run_once(database, handlers, DEAD_LETTER_LIMIT),
            "relay_events": lambda: relay_events.run_once(database, events, RELAY_LIMIT),
            "close_drops": lambda: close_drops.run_once(database, CLOSE_LIMIT),
            "audit": lambda: audit.run_once(database, auditor, AUDIT_SECONDS),
            "erase_personal_data": lambda: erase_personal_data.run_once(database, ERASE_LIMIT, values.retention_days),
        }

    async def run(self) -> tuple[dict[str, Any], bool]:
        """A report with the counts of every step, summed up, or its error; and whether all went well."""
        started = time.monotonic()
        totals: dict[str, Counter[str]] = {name: Counter() for name in self._steps}
        errors: dict[str, Any] = {}
        due = dict.fromkeys(self._steps, started)
        while due and (at := min(due.values())) <= started + RECONCILE_SECONDS:
            await asyncio.sleep(at - time.monotonic())
            now = time.monotonic()
            for name in [name for name in self._steps if name in due and due[name] <= now]:
                del due[name]
                try:
                    outcome = await self._steps[name]()
                except Exception as error:  # whatever it is, the other steps have their work to do
                    log(logging.ERROR, "a step of reconcile failed", error=error, step=name)
                    errors[name] = {**totals[name], "error": type(error).__name__}
                else:
                    totals[name].update(outcome.counts)
                    if outcome.again_seconds is not None:
                        due[name] = time.monotonic() + outcome.again_seconds
        return {**totals, **errors}, not errors


@lru_cache(maxsize=1)
def reconcile_steps() -> Reconcile:
    """The instance's one Reconcile, made by its first request, after the worker process has started."""
    return Reconcile()
