"""What the Stripe stand-in remembers: payments, refunds, movements of money, answers under keys, its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

from local.stripe_errors import Full, StripeError
from local.stripe_journal import Journal
from local.stripe_keys import Keys, Saved
from local.stripe_objects import PaymentIntent, Refund, derive
from local.stripe_records import Change, Event, Movement, Record

T = TypeVar("T", PaymentIntent, Refund)

PAYMENTS_MAX = 100_000  # twice the largest sale that it is meant for; about 300 MB with all that belongs to them
REFUNDS_MAX = 100_000
EVENTS_MAX = 50_000  # waiting for a receiver that is away: two for each order of a large sale; later ones are lost


class Table(Generic[T]):
    """Objects by id, in the order in which they were created."""

    def __init__(self) -> None:
        self._rows: list[T] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, identity: object) -> bool:
        return identity in self._places

    def get(self, identity: str) -> T | None:
        """The object as it is now."""
        place = self._places.get(identity)
        return None if place is None else self._rows[place]

    def put(self, row: T) -> None:
        """Add an object, or replace it."""
        place = self._places.setdefault(row.id, len(self._rows))
        if place == len(self._rows):
            self._rows.append(row)
        else:
            self._rows[place] = row

    def newest(self, after: str | None = None) -> Iterator[T]:
        """From the newest to the oldest; `after` leaves out an object and those that are newer."""
        place = len(self._rows) if after is None else self._places[after]
        return (self._rows[place] for place in range(place - 1, -1, -1))


class Store:
    """Everything, in memory and in the journal; every change goes through `commit`."""

    def __init__(self, journal: Path | None) -> None:
        self.payment_intents: Table[PaymentIntent] = Table()
        self.refunds: Table[Refund] = Table()
        self.movements: list[Movement] = []
        self.keys = Keys()
        self.waiting_events: dict[str, Event] = {}
        self.tell: Callable[[Event], None] | None = None  # takes new events, once somebody wants them
        self._ahead = 0.0
        self._journal = Journal(journal) if journal else None
        for entry in self._journal.read() if self._journal else ():
            if "at" in entry:
                self._apply(Record.from_json(entry))
            elif "ahead" in entry:
                self._ahead = entry["ahead"]
            else:
                self.waiting_events.pop(entry["done"], None)

    def now(self) -> float:
        """Seconds since the epoch, by the stand-in's clock."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self._write({"ahead": self._ahead + seconds})
        self._ahead += seconds

    def new_id(self, prefix: str, identity: str) -> str:
        """An id for what a request creates; one that was given out before, a day ago, isn't given out again."""
        table = self.refunds if prefix == "re" else self.payment_intents
        if len(table) >= (REFUNDS_MAX if prefix == "re" else PAYMENTS_MAX):
            raise Full(f"The stand-in holds at most {len(table)} of these; start it with a new journal.")
        return next(found for n in count() if (found := derive(prefix, identity, n)) not in table)

    def commit(self, change: Change, request: str | None, key: str | None = None, fingerprint: str = "") -> None:
        """Make a change, with the answer under its key, and tell of it: all of that or, with an exception, nothing."""
        now = self.now()
        if key is not None:
            self.keys.check_room(now)
        events = self._events(change, now, request, key)
        record = Record(now, change, events, key, fingerprint)
        self._write(record.to_json())
        self._apply(record)
        if self.tell:
            for event in events:
                self.tell(event)

    def forget_event(self, event: Event) -> None:
        """An event that needs no further delivery. If the journal can't take that, a restart delivers it once more."""
        if self.waiting_events.pop(event.id, None):
            with suppress(OSError, StripeError):
                self._write({"done": event.id})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._journal:
            self._journal.append(entry)

    def _events(self, change: Change, now: float, request: str | None, key: str | None) -> tuple[Event, ...]:
        if not self.tell or change.payment_intent is None:
            return ()
        about = (change.payment_intent.id, change.payment_intent.version)
        told = change.told[: max(0, EVENTS_MAX - len(self.waiting_events))]
        return tuple(
            Event(derive("evt", *about, kind), kind, int(now), document, request, key) for kind, document in told
        )

    def _apply(self, record: Record) -> None:
        change = record.change
        if change.payment_intent:
            self.payment_intents.put(change.payment_intent)
        if change.refund:
            self.refunds.put(change.refund)
        if change.movement:
            self.movements.append(change.movement)
        self.waiting_events |= {event.id: event for event in record.events}
        if record.key is not None:
            self.keys.save(record.key, Saved(record.fingerprint, record.at, change.answer))
