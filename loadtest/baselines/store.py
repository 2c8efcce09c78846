"""The baseline's tables, and its clients, made on first use: an engine with a pool for all threads, a publisher."""

from __future__ import annotations

import os
from functools import cache
from threading import Lock

import grpc
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Engine,
    Identity,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    create_engine,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

drops = Table(
    "drops",
    metadata,
    Column("id", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ends_at", DateTime(timezone=True), nullable=False),
)
items = Table(
    "items",
    metadata,
    Column("drop_id", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("unit_price_minor", BigInteger, nullable=False),
    Column("stock", BigInteger, nullable=False),
    Column("sold", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("sold BETWEEN 0 AND stock", name="items_never_oversold"),
    postgresql_with={"fillfactor": 50},
)
orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("drop_id", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="accepted"),
    Column("amount_minor", BigInteger, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("accepted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("drop_id", "idempotency_key"),
    postgresql_with={"fillfactor": 80},
)
events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("order_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("order_id", "seq"),
)

_making = Lock()  # lru_cache alone would let two first requests make two engines


def engine() -> Engine:
    """The instance's engine, with a connection for each of its threads."""
    with _making:
        return _engine()


def publisher() -> PublisherClient:
    """The instance's publisher: synchronous calls, which cost less than the batching client's threads."""
    with _making:
        return _publisher()


@cache
def _engine() -> Engine:
    return create_engine(os.environ["BASELINE_DATABASE_URL"], pool_size=int(os.environ["THREADS"]), max_overflow=0)


@cache
def _publisher() -> PublisherClient:
    channel = grpc.insecure_channel(os.environ["PUBSUB_EMULATOR_HOST"])
    return PublisherClient(transport=PublisherGrpcTransport(channel=channel))
