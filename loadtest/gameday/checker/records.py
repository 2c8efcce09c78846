"""The four records that are compared, and what was on sale and ordered, which is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Lines = Mapping[str, int]  # SKU: quantity
Key = tuple[str, str]  # drop and idempotency key


@dataclass(frozen=True, slots=True)
class Sale:
    """A drop as it was put on sale."""

    currency: str
    stock: Lines
    prices: Mapping[str, int]  # SKU: minor units


@dataclass(frozen=True, slots=True)
class Answer:
    """What a buyer was told in one call; `began` and `ended` are seconds of one clock that never goes back."""

    began: float
    ended: float
    call: str  # checkout, status or cancel
    key: Key
    http: int  # 0: nothing that could be read
    order_id: str | None = None
    status: str | None = None  # the order's, or a problem's name


@dataclass(frozen=True, slots=True)
class Order:
    """An order in the database."""

    id: str
    key: Key
    status: str
    lines: Lines
    event_seq: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger, in the order in which each item's were written; `at` is the database's clock."""

    drop_id: str
    sku: str
    kind: str
    quantity: int
    at: float


@dataclass(frozen=True, slots=True)
class Item:
    """An item's counters."""

    drop_id: str
    sku: str
    stock: int
    reserved: int
    sold: int


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that moved at the provider: a `capture` or a `refund`."""

    kind: str
    order_id: str
    amount: int
    currency: str
    at: float


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an order; `body` is all that a subscriber was sent, empty in the database."""

    order_id: str
    seq: int
    type: str
    at: float
    body: str = ""


@dataclass(frozen=True)
class Records:
    """Everything that is known of a run; events as delivered, repetitions included, in the order of their arrival."""

    sales: Mapping[str, Sale] = field(default_factory=dict)
    wanted: Mapping[Key, Lines] = field(default_factory=dict)
    answers: Sequence[Answer] = ()
    orders: Sequence[Order] = ()
    ledger: Sequence[Entry] = ()
    items: Sequence[Item] = ()
    movements: Sequence[Movement] = ()
    events: Sequence[Event] = ()
    delivered: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise: which one (a name of checker.check.KINDS), of what, and how one sees it."""

    kind: str
    subject: str
    text: str
