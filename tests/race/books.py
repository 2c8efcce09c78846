"""What the tables hold, in plain Python: the state that the models of the SQL functions share, and its one step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from tests.conftest import order, order_id

PRICES = {"A": 0, "B": 5, "C": 70}  # a cart of A alone is free, and confirmed at once


@dataclass(frozen=True)
class Wanted:
    """One entry of a batch for accept_orders."""

    drop_id: str
    key: str
    fingerprint: str
    customer: str
    items: dict[str, int]
    payable: bool
    payment_method: bool
    price_off: int | None  # how far the expected amount is from the true one; None: no amount is expected

    @property
    def id(self) -> str:
        return order_id(self.key, self.drop_id)

    @property
    def cost(self) -> int:
        return sum(PRICES[sku] * quantity for sku, quantity in self.items.items())

    @property
    def units(self) -> int:
        return sum(self.items.values())

    def entry(self) -> dict[str, Any]:
        request: dict[str, Any] = {"payment_method": "card"} if self.payment_method else {}
        if self.price_off is not None:
            request["expected_amount_minor"] = self.cost + self.price_off
        same = {"fingerprint": self.fingerprint, "customer": self.customer, "payable": self.payable}
        return order(self.key, self.items, drop_id=self.drop_id, request=request, **same)


@dataclass
class Item:
    """The counters of one SKU."""

    stock: int
    reserved: int = 0
    sold: int = 0

    @property
    def free(self) -> int:
        return self.stock - self.reserved - self.sold


@dataclass
class Drop:
    """A drop with its items and the restockings that it has seen."""

    state: str
    window: str
    limit: int | None
    items: dict[str, Item]
    restocked: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Order:
    """An order as it was accepted, and what has become of it."""

    wanted: Wanted
    status: str = "accepted"
    reason: str | None = None
    is_late: bool | None = None  # whether its hold is over; None: it has none
    events: tuple[str, ...] = ("order.accepted",)

    @property
    def is_held(self) -> bool:
        """Whether units wait for its money."""
        return self.status in ("reserved", "action_required")

    @property
    def has_card(self) -> bool:
        """Whether its card may still be needed."""
        return self.wanted.payment_method and (self.status == "accepted" or self.is_held)

    def become(self, status: str, reason: str | None = None) -> None:
        if status == "confirmed" and self.status == "accepted":
            self.events += ("order.reserved",)
        self.status, self.reason = status, reason
        self.is_late = self.is_late if status == "action_required" else None
        self.events += (f"order.{status} {reason}" if reason else f"order.{status}",)


@dataclass
class Payment:
    """A payment; `is_due` says whether somebody should look after it now, or later, or never again (None)."""

    amount: int
    state: str = "due"
    is_due: bool | None = True
    attempt: int = 0
    ref: str | None = None
    ending: str | None = None
    secret: str | None = None
    captured: int = 0
    refunded: int = 0


@dataclass
class Refund:
    """Money that goes back, or is to."""

    order_id: str
    amount: int
    reason: str
    restock: bool = False
    state: str = "due"
    is_due: bool | None = True
    attempt: int = 0
    key_number: int = 0


class Books:
    """The tables."""

    def __init__(self) -> None:
        self.drops: dict[str, Drop] = {}
        self.orders: dict[str, Order] = {}  # oldest first
        self.payments: dict[str, Payment] = {}  # by order, in the order in which units were reserved
        self.refunds: dict[str, Refund] = {}  # oldest first; that of an order without units has the order's id
        self.tokens = 0  # of the pace

    def copy(self) -> Self:
        other = type(self)()
        for drop_id, drop in self.drops.items():
            items = {sku: replace(item) for sku, item in drop.items.items()}
            other.drops[drop_id] = replace(drop, items=items, restocked=set(drop.restocked))
        other.orders = {one: replace(found) for one, found in self.orders.items()}
        other.payments = {one: replace(found) for one, found in self.payments.items()}
        other.refunds = {one: replace(found) for one, found in self.refunds.items()}
        other.tokens = self.tokens
        return other

    def take_ages(self, books: Any) -> None:
        """What several calls made at once may be of any age, one among the other."""
        for name in ("orders", "payments", "refunds"):
            mine, oldest_first = getattr(self, name), [row[0] for row in books[name]]
            if set(oldest_first) == mine.keys():
                setattr(self, name, {one: mine[one] for one in oldest_first})

    def books(self) -> dict[str, Any]:
        """All that the tables should say."""
        return {
            "violations": self._violations(),
            "drops": {drop_id: drop.state for drop_id, drop in self.drops.items()},
            "items": {
                f"{drop_id}/{sku}": [item.stock, item.reserved, item.sold]
                for drop_id, drop in self.drops.items()
                for sku, item in drop.items.items()
            },
            "orders": [
                [one, o.status, o.reason, o.wanted.cost, o.wanted.fingerprint, o.is_late, o.has_card, list(o.events)]
                for one, o in self.orders.items()
            ],
            "limits": {f"{drop_id}/{customer}": units for (drop_id, customer), units in self.bought().items()},
            "payments": [
                [one, p.state, p.is_due, p.attempt, p.ref, p.ending, p.secret, p.captured, p.refunded]
                for one, p in self.payments.items()
            ],
            "refunds": [
                [one, f.order_id, f.amount, f.reason, f.restock, f.state, f.is_due, f.attempt, f.key_number]
                for one, f in self.refunds.items()
            ],
            "tokens": self.tokens,
        }

    def _violations(self) -> list[str]:
        """Orders that keep money for nothing: the audit calls for a person when a refund of theirs can't be made."""
        coming = {one: sum(f.amount for f in self.refunds_of(one) if f.is_due is not None) for one in self.payments}
        over = ("declined", "expired", "cancelled")
        return sorted(
            one
            for one, p in self.payments.items()
            if self.orders[one].status in over and p.captured - p.refunded > coming[one]
        )

    def refunds_of(self, one: str) -> list[Refund]:
        return [refund for refund in self.refunds.values() if refund.order_id == one]

    def bought(self) -> dict[tuple[str, str], int]:
        """Units that each customer holds of each drop that has a limit."""
        units: dict[tuple[str, str], int] = {}
        for found in self.orders.values():
            is_counted = found.is_held or found.status == "confirmed"
            if is_counted and self.drops[found.wanted.drop_id].limit is not None:
                buyer = (found.wanted.drop_id, found.wanted.customer)
                units[buyer] = units.get(buyer, 0) + found.wanted.units
        return units

    def move_order(self, one: str, status: str, reason: str | None) -> None:
        """Move an order on; units that it held are sold, or go back on sale."""
        found = self.orders[one]
        if found.is_held and status != "action_required":
            for sku, quantity in found.wanted.items.items():
                item = self.drops[found.wanted.drop_id].items[sku]
                item.reserved -= quantity
                item.sold += quantity if status == "confirmed" else 0
        found.become(status, reason)
