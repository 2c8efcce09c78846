"""What charge_order does with a message: look for due payments at a wake-up, settle at once what a provider tells."""

from __future__ import annotations

import logging
from functools import lru_cache

from common.batching import BadItem, Overloaded
from common.charges import Charges
from common.database import Database, DatabaseUnavailable
from common.logs import log
from common.messages import NOT_TAKEN, Delivery, Malformed, parse_payment, rejection
from common.payment_contracts import ProviderEvent
from common.publisher import Publisher
from common.refunds import Refunds
from common.settings import CHARGE_SECONDS, PAYMENTS_TOPIC, settings
from common.stripe_payments import StripePayments
from common.wake_up import wake_charge_order
from common.worker import start_worker


class Charging:
    """Handles messages of the topic payments for one instance. Use it from one event loop only."""

    def __init__(self, database: Database, charges: Charges, refunds: Refunds, publisher: Publisher) -> None:
        self._database, self._charges, self._refunds, self._publisher = database, charges, refunds, publisher
        self._wake_ups = 0
        self._is_working = False

    async def handle(self, delivery: Delivery, *, is_dead_letter: bool = False) -> bool:
        """Do what a message asks for. True: it is done with; false: deliver it again later.

        A dead letter wakes nobody: reconcile finds what is due. What the database can't take is recorded if it is one:
        it has been delivered often enough.
        """
        try:
            event = parse_payment(delivery.data)
        except Malformed:
            return await self._reject(delivery, "malformed")
        try:
            if event is None:
                return is_dead_letter or await self._work()
            return await self._settle(event)
        except (DatabaseUnavailable, Overloaded):
            return False
        except BadItem as error:
            log(logging.ERROR, "the database can't take a message", message_id=delivery.message_id, cause=error)
            return is_dead_letter and await self._reject(delivery, NOT_TAKEN)

    async def _work(self) -> bool:
        """Look after what is due, for CHARGE_SECONDS at most; then hand what is left to the next wake-up.

        One at a time in each instance: a wake-up that comes meanwhile is acknowledged, as whoever is at work looks once
        more before he ends.
        """
        self._wake_ups += 1
        if self._is_working:
            return True
        self._is_working = True
        try:
            is_left, seen = False, 0
            while not is_left and seen != self._wake_ups:
                seen = self._wake_ups
                _, is_left = await self._charges.work(CHARGE_SECONDS)
                await self._refunds.work()
        finally:
            self._is_working = False  # before the next one is published: it may come back at once, and must be taken
        return not is_left or await wake_charge_order(self._publisher)  # if that fails, this one comes again

    async def _settle(self, event: ProviderEvent) -> bool:
        """Write down what can't change any more; the rest is looked up."""
        if event["state"] != "captured":
            await self._charges.work_on([event["order_id"]])
            return True
        settled = await self._charges.settle(
            {
                "order_id": event["order_id"],
                "outcome": "captured",
                "provider_ref": event["provider_ref"],
                "captured_minor": event["captured_minor"],
            }
        )
        if settled["outcome"] == "refund_due":
            await self._refunds.work()
        return True

    async def _reject(self, delivery: Delivery, reason: str) -> bool:
        try:
            await self._database.call("reject_messages", [rejection(delivery, PAYMENTS_TOPIC, reason)])
        except (DatabaseUnavailable, BadItem):
            return False
        return True


@lru_cache(maxsize=1)
def charging() -> Charging:
    """The instance's one Charging, made by its first request, after the worker process has started."""
    start_worker()
    values = settings()
    database = Database(values.database)
    provider = StripePayments(values.stripe_api_key, values.stripe_api_base)
    return Charging(
        database,
        Charges(database, provider, values.payments_per_second),
        Refunds(database, provider),
        Publisher(values.project, PAYMENTS_TOPIC, values.pubsub_emulator_host),
    )
