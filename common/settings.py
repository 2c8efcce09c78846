"""Every setting and every limit, in one place, each with its reason."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache

# --- what a request may hold -------------------------------------------------------------------------------------
BODY_BYTES_MAX = 64 * 1024  # twenty lines, an address and metadata take less than a tenth of it
TEXT_LENGTH_MAX = 255
LINES_MAX = 20
QUANTITY_MAX = 1_000
METADATA_ENTRIES_MAX = 20
AMOUNT_MINOR_MAX = 10**13  # above what 20 lines of 1,000 units at the highest price come to

# --- waiting status calls ----------------------------------------------------------------------------------------
WAIT_SECONDS_MAX = 25  # below the 30 s after which many proxies and browsers' libraries give up
WAITERS_MAX = 500  # for each instance; further calls answer at once, so that they never crowd out a checkout
WAIT_POLL_SECONDS = 0.25  # one batched read for all waiting calls, four times a second

# --- batches: while one database call is under way, the next requests gather ----------------------------------------
ACCEPT_BATCH_MAX = 200  # about 20 ms in the database; larger batches gain nothing and make the first one wait
RESERVE_BATCH_MAX = 200
ADMIT_BATCH_MAX = 100  # whole orders, of up to 64 KiB each
READ_BATCH_MAX = 500
PUBLISH_BATCH_MAX = 1_000  # what Pub/Sub takes in one call …
PUBLISH_BATCH_BYTES_MAX = 7 * 1024 * 1024  # … of 10 MB, attributes and framing included
QUEUE_LENGTH_MAX = 5_000  # some seconds of work; whoever comes later is told to come again
FLUSHES_MAX = 2  # two calls under way hide the round trip; an instance needs no more connections than that

# --- time-outs, in seconds ---------------------------------------------------------------------------------------
DATABASE_CONNECT_SECONDS = 2.0  # a healthy server needs milliseconds, and twenty of them with TLS
CLOUD_SQL_CONNECT_SECONDS = 5.0  # the first time with a token, a certificate and a key: about one; later as above
CLOUD_SQL_START_SECONDS = 90.0  # for a job: its way into the network may take a minute after its instance has begun
DATABASE_STATEMENT_SECONDS = 4.0  # a batch takes milliseconds, and waits for a lock or the disk for a second at worst
DATABASE_COMMAND_SECONDS = 5.0  # after the server's own limit: whoever says nothing at all is gone
DATABASE_POOL_MAX = 4  # two for each of the two batchers that write or read at the same time
PUBLISH_SECONDS = 2.0  # a slower Pub/Sub counts as away: the row is durable, and reconcile publishes it
PUBLISH_RETRY_SECONDS = 0.05  # the first pause after a passing error, within PUBLISH_SECONDS
BREAKER_PAUSE_SECONDS = 1.0  # between two looks at a part that is away: soon back, at the price of one call a second
BREAKER_LULL_SECONDS = 3.0  # nobody asked for so long: the next one waits for a look instead of an old answer
HEALTH_SECONDS = 1.0
BODY_SECONDS = 10.0  # for 64 KiB to arrive; a slower client holds an instance's memory for nothing

# --- payments ----------------------------------------------------------------------------------------------------
PAYMENTS_PER_SECOND = 20.0  # Stripe allows 25 requests a second to one endpoint; the rest is for people and webhooks
PACE_MAX = 1_000.0  # of a setting; whoever means more has mistaken the unit
PAYMENTS_BURST = 4  # claimed at once; with a second's pace still under those 25
CHARGES_MAX = 40  # under way in an instance: the pace, when Stripe takes two seconds for an order
CLAIM_PAUSE_SECONDS = 0.1  # between two looks for due payments, when the pace or CHARGES_MAX is reached
CHARGE_SECONDS = 10.0  # a wake-up works for so long, is acknowledged, and wakes the next one if something is left
STRIPE_CONNECT_SECONDS = 2.0
STRIPE_SECONDS = 8.0  # for one call; a bank takes two or three. Whatever takes longer is in doubt, and is looked up
ONE_CHARGE_SECONDS = 25.0  # for one order's calls together
LEASE_SECONDS = 60  # above ONE_CHARGE_SECONDS: who holds a claim for longer is dead
SOON_SECONDS = 5.0  # who works stays for what is due so soon: a first doubt is not left to reconcile's next minute
DOUBT_SECONDS = 2.0  # before the first second look; each later pause is twice as long, …
DOUBT_SECONDS_MAX = 60.0  # … up to this
ACTION_LOOK_SECONDS = 30.0  # a webhook tells sooner that a buyer has acted; if it got lost, a look does
FAILURES_MAX = 5  # one after the other: the provider is down, …
FAILURE_PAUSE_SECONDS = 2.0  # … and after so long one order tries whether it is back
SETTLE_BATCH_MAX = 50
REFUNDS_MAX = 5  # under way at once: few are ever made, and they share Stripe's limits with the charges
REFUND_SECONDS = 10.0  # for the refunds of one wake-up, or of one pass of reconcile; the next one makes the rest
WEBHOOK_TOLERANCE_SECONDS = 300  # as Stripe's own libraries have it: an older signature may be a replay
PROVIDER_PAGE = 100  # payments in one answer when all are listed; Stripe's maximum
PROVIDER_LIST_PAUSE_SECONDS = 0.1  # between two pages, so that a listing leaves room for charges
PROVIDER_PAGE_TRIES = 5  # of a page that fails, DOUBT_SECONDS apart: one error must not cost the hundreds before it

# --- caches ------------------------------------------------------------------------------------------------------
FINAL_ORDERS_MAX = 10_000  # about 10 MB of orders whose state has no exit
ONLY_QUEUED_MAX = 20_000  # about 5 MB of ids: what an instance takes in a minute or so without the database
SNAPSHOTS_MAX = 100  # drops that an instance knows, about 10 MB if each has a thousand items
SNAPSHOT_FRESH_SECONDS = 30.0  # one small read for each drop in so long
SNAPSHOT_SECONDS_MAX = 300.0  # without the database, orders are taken on a snapshot of this age at most

# --- answers -----------------------------------------------------------------------------------------------------
POLL_AFTER_SECONDS = 1  # `Retry-After` of a 202
RETRY_AFTER_SECONDS = 2  # of an overload or an outage
NOT_OPEN_RETRY_SECONDS_MAX = 3_600  # of a drop that opens later, so that a moved opening is noticed

# --- reconcile ---------------------------------------------------------------------------------------------------
REPUBLISH_AFTER_SECONDS = 30  # a healthy queue needs less than one
REPUBLISH_PAUSE_SECONDS_MAX = 3_600
REPUBLISH_LIMIT = 2_000  # in one pass; a run makes as many as there is work for
RECONCILE_SECONDS = 50.0  # a run that left something undone looks again until then; the next one comes in a minute
RECONCILE_PAUSE_SECONDS = 5.0  # between two such looks: a part that comes back is used within seconds
EXPIRE_LIMIT = 1_000  # holds in one pass
RELAY_LIMIT = 500  # orders in one pass, each a call of its own
RELAY_CALLS_MAX = 50  # under way at once; a connection to Pub/Sub carries 100
RELAY_LEASE_SECONDS = 30  # above RELAY_LIMIT / RELAY_CALLS_MAX calls that take PUBLISH_SECONDS each
DEAD_LETTER_LIMIT = 20  # in one pass; each may cost a call of Stripe's, which allows 25 a second
PULL_SECONDS = 3.0  # for a pull that finds nothing, once in a run
PULL_CALL_SECONDS = 2.0  # for the calls that say what became of messages
LOOK_UP_SECONDS = 10.0  # in which a pass looks after payments in doubt, before the other steps get their turn
CLOSE_LIMIT = 100  # drops in one pass; few ever end in the same minute
AUDIT_PAUSE_SECONDS = 50.0  # between two audits of a drop: one in each run, however often the run looks again
AUDIT_SECONDS = 10.0  # in which a pass begins audits, before the other steps get their turn
AUDIT_STATEMENT_SECONDS = 30.0  # for one drop: some 300,000 orders on two busy cores, and the run still ends in time
AUDIT_LISTED_MAX = 1_000  # violations read of one drop; whoever has more has one cause
SEAL_AFTER_SECONDS = 600.0  # after the end: calls that began before it, and messages under way, are through by then
ERASE_LIMIT = 1_000  # orders in one pass: some 50 ms in which their rows are locked
RETENTION_DAYS = 90  # after the end of a drop: parcels have come and gone back; counters, ledger and money stay anyway
RETENTION_DAYS_MAX = 3_650  # of a setting; whoever means more has mistaken the unit
MESSAGE_TEXT_MAX = 100_000  # characters of a rejected message that are kept

DATABASE_NAME = "merchdrop"  # in a Cloud SQL instance
ORDERS_TOPIC = "orders"
PAYMENTS_TOPIC = "payments"
EVENTS_TOPIC = "order-events"
DEAD_LETTERS = "{}-dead-letter"  # the subscription that keeps what Pub/Sub gave up on, by the topic it came from
STRIPE_API_BASE = "https://api.stripe.com"


@dataclass(frozen=True)
class CloudSqlLogin:
    """An instance (PROJECT:REGION:NAME), the account that logs in by IAM, and the Admin API if it is not Google's."""

    instance: str
    user: str
    api_base: str = ""


@dataclass(frozen=True)
class Settings:
    """What differs between deployments. Secrets are left out of the representation."""

    database: str | CloudSqlLogin = field(repr=False)  # a URL, or an instance
    project: str
    pubsub_emulator_host: str | None
    order_id_secrets: dict[int, bytes] = field(repr=False)
    cors_origins: frozenset[str]
    log_format: str
    takes_payments: bool  # whether orders above 0 can be taken
    stripe_api_key: str = field(repr=False)
    stripe_api_base: str
    stripe_webhook_secret: str = field(repr=False)
    payments_per_second: float
    retention_days: int


class SettingsError(Exception):
    """A setting is missing or can't be read; the message names it and says what it should hold."""


def _secrets(text: str) -> dict[int, bytes]:
    try:
        secrets = {int(version): bytes.fromhex(value) for version, value in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise SettingsError('MERCHDROP_ORDER_ID_SECRETS must be JSON such as {"1": "64 hexadecimal digits"}') from error
    if any(len(secret) < 32 for secret in secrets.values()):
        raise SettingsError("each secret in MERCHDROP_ORDER_ID_SECRETS needs at least 32 bytes (64 hexadecimal digits)")
    return secrets


def _provider(text: str) -> bool:
    if text not in ("", "stripe"):
        raise SettingsError("MERCHDROP_PAYMENT_PROVIDER must be stripe, or empty: then only free orders are taken")
    return text == "stripe"


def _pace(text: str) -> float:
    try:
        pace = float(text)
    except ValueError:
        pace = 0.0
    if not 0 < pace <= PACE_MAX:
        raise SettingsError(f"MERCHDROP_PAYMENTS_PER_SECOND must be a number above 0, and at most {PACE_MAX:.0f}")
    return pace


def _days(text: str) -> int:
    days = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= days <= RETENTION_DAYS_MAX:
        raise SettingsError(f"MERCHDROP_RETENTION_DAYS must be a whole number from 1 to {RETENTION_DAYS_MAX}")
    return days


def database_address() -> str | CloudSqlLogin:
    """Where the database is: MERCHDROP_DATABASE_URL, or MERCHDROP_CLOUD_SQL_INSTANCE with MERCHDROP_DATABASE_USER.

    Raises:
        SettingsError: neither is set, or both are, or an instance without its user or in another form.
    """
    env = os.environ
    url, instance = env.get("MERCHDROP_DATABASE_URL", ""), env.get("MERCHDROP_CLOUD_SQL_INSTANCE", "")
    user = env.get("MERCHDROP_DATABASE_USER", "")
    if url and (instance or user):
        other = "MERCHDROP_CLOUD_SQL_INSTANCE" if instance else "MERCHDROP_DATABASE_USER"
        raise SettingsError(
            f"MERCHDROP_DATABASE_URL and {other} are both set: a URL names server and user, an instance of Cloud SQL"
            " has its own two settings; unset what is not meant"
        )
    if url:
        return url
    if not instance:
        raise SettingsError(
            "set one of MERCHDROP_DATABASE_URL (postgresql://user:password@host:port/database)"
            " and MERCHDROP_CLOUD_SQL_INSTANCE (project:region:instance)"
        )
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]+", instance):
        raise SettingsError(
            "MERCHDROP_CLOUD_SQL_INSTANCE must be an instance's connection name, project:region:instance"
        )
    if not user:
        raise SettingsError(
            "MERCHDROP_DATABASE_USER is not set: the service account's e-mail address without .gserviceaccount.com"
        )
    return CloudSqlLogin(instance, user, env.get("MERCHDROP_CLOUD_SQL_API_BASE", ""))


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the environment, once a process.

    Raises:
        SettingsError: a required variable is missing or malformed.
    """
    env = os.environ
    return Settings(
        database=database_address(),
        project=env.get("MERCHDROP_PROJECT", "merchdrop-local"),
        pubsub_emulator_host=env.get("PUBSUB_EMULATOR_HOST") or None,
        order_id_secrets=_secrets(env.get("MERCHDROP_ORDER_ID_SECRETS", "{}")),
        cors_origins=frozenset(filter(None, (o.strip() for o in env.get("MERCHDROP_CORS_ORIGINS", "").split(",")))),
        log_format=env.get("MERCHDROP_LOG_FORMAT") or ("text" if sys.stderr.isatty() else "json"),
        takes_payments=_provider(env.get("MERCHDROP_PAYMENT_PROVIDER", "")),
        stripe_api_key=env.get("MERCHDROP_STRIPE_API_KEY", ""),
        stripe_api_base=env.get("MERCHDROP_STRIPE_API_BASE") or STRIPE_API_BASE,
        stripe_webhook_secret=env.get("MERCHDROP_STRIPE_WEBHOOK_SECRET", ""),
        payments_per_second=_pace(env.get("MERCHDROP_PAYMENTS_PER_SECOND") or str(PAYMENTS_PER_SECOND)),
        retention_days=_days(env.get("MERCHDROP_RETENTION_DAYS") or str(RETENTION_DAYS)),
    )
