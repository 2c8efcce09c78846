"""What an instance remembers of drops: enough to name an order, and to take one while the database is away."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from common.batching import Batcher, Overloaded
from common.database import Database, DatabaseUnavailable
from common.models import CheckoutRequest
from common.settings import (
    QUEUE_LENGTH_MAX,
    READ_BATCH_MAX,
    SNAPSHOT_FRESH_SECONDS,
    SNAPSHOT_SECONDS_MAX,
    SNAPSHOTS_MAX,
)


@dataclass(frozen=True)
class DropSnapshot:
    """A drop as it was when it was read, `read_at` seconds on this machine's monotonic clock."""

    key_version: int
    state: str
    starts_at: datetime
    ends_at: datetime
    prices: dict[str, int]
    read_at: float

    def amount_minor(self, request: CheckoutRequest) -> int | None:
        """What the order costs; None if a snapshot can't promise it: the drop isn't open, or something differs."""
        if self.state != "live" or not self.starts_at <= datetime.now(UTC) < self.ends_at:
            return None
        if not all(line.sku in self.prices for line in request.items):
            return None
        amount = sum(line.quantity * self.prices[line.sku] for line in request.items)
        return amount if request.expected_amount_minor in (None, amount) else None


class DropSnapshots:
    """The drops that one instance knows, the least recently read forgotten first. Use it from one event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, DropSnapshot] = OrderedDict()
        self._reads: Batcher[str, DropSnapshot | None] = Batcher(
            self._read, batch_max=READ_BATCH_MAX, queue_max=QUEUE_LENGTH_MAX, flushes_max=1
        )

    async def get(self, drop_id: str) -> DropSnapshot | None:
        """The drop as it was SNAPSHOT_FRESH_SECONDS ago at most, or SNAPSHOT_SECONDS_MAX while the database is away.

        None if there is no such drop.

        Raises:
            DatabaseUnavailable, Overloaded: it can't be read, and isn't remembered.
        """
        known = self._known.get(drop_id)
        if known and time.monotonic() - known.read_at < SNAPSHOT_FRESH_SECONDS:
            return known
        try:
            return await self._reads.submit(drop_id)
        except (DatabaseUnavailable, Overloaded):
            if known and time.monotonic() - known.read_at < SNAPSHOT_SECONDS_MAX:
                return known
            raise

    async def _read(self, drop_ids: Sequence[str]) -> list[DropSnapshot | None]:
        rows = await self._database.read(
            "SELECT drop_id, order_id_key_version, state, starts_at, ends_at, items FROM shown_drops"
            " WHERE drop_id = ANY ($1)",
            list(set(drop_ids)),
        )
        for row in rows:
            prices = {item["sku"]: item["unit_price_minor"] for item in json.loads(row["items"])}
            self._known[row["drop_id"]] = DropSnapshot(
                row["order_id_key_version"], row["state"], row["starts_at"], row["ends_at"], prices, time.monotonic()
            )
            self._known.move_to_end(row["drop_id"])
        found = {row["drop_id"]: self._known[row["drop_id"]] for row in rows}
        while len(self._known) > SNAPSHOTS_MAX:
            self._known.popitem(last=False)
        return [found.get(drop_id) for drop_id in drop_ids]
