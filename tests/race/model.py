"""The books in plain Python: what the SQL functions promise, one call after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.conftest import order, order_id

PRICES = {"A": 0, "B": 5, "C": 70}  # a cart of A alone is free, and confirmed at once
WINDOWS: dict[str, dict[str, str]] = {  # when a drop opens and closes
    "open": {},
    "early": {"starts_at": "2999-01-01T00:00:00Z", "ends_at": "2999-01-02T00:00:00Z"},
    "over": {"starts_at": "2000-01-01T00:00:00Z", "ends_at": "2000-01-02T00:00:00Z"},
}
_AFTER: dict[str, tuple[str, ...]] = {  # the states that a drop's state may change to
    "draft": ("live", "ended"),
    "live": ("paused", "ended"),
    "paused": ("live", "ended"),
    "ended": (),
}


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
    events: tuple[str, ...] = ("order.accepted",)

    @property
    def holds(self) -> bool:
        return self.status in ("reserved", "confirmed")

    def become(self, status: str, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        if status == "confirmed":
            self.events += ("order.reserved",)
        self.events += (f"order.{status} {reason}" if reason else f"order.{status}",)


class Model:
    """The books, and each SQL function as a method that answers as the function does."""

    def __init__(self) -> None:
        self.drops: dict[str, Drop] = {}
        self.orders: dict[str, Order] = {}  # oldest first

    def copy(self) -> Model:
        other = Model()
        for drop_id, drop in self.drops.items():
            items = {sku: replace(item) for sku, item in drop.items.items()}
            other.drops[drop_id] = replace(drop, items=items, restocked=set(drop.restocked))
        other.orders = {one: replace(found) for one, found in self.orders.items()}
        return other

    def take_ages(self, oldest_first: list[str]) -> None:
        """Orders that several calls accepted at once may be of any age, one among the other."""
        if set(oldest_first) == self.orders.keys():
            self.orders = {one: self.orders[one] for one in oldest_first}

    def books(self) -> dict[str, Any]:
        """All that the tables should say; orders oldest first."""
        return {
            "violations": [],
            "drops": {drop_id: drop.state for drop_id, drop in self.drops.items()},
            "items": {
                f"{drop_id}/{sku}": [item.stock, item.reserved, item.sold]
                for drop_id, drop in self.drops.items()
                for sku, item in drop.items.items()
            },
            "orders": [
                [one, found.status, found.reason, found.wanted.cost, found.wanted.fingerprint, list(found.events)]
                for one, found in self.orders.items()
            ],
            "limits": {f"{drop_id}/{customer}": units for (drop_id, customer), units in self.bought().items()},
        }

    def bought(self) -> dict[tuple[str, str], int]:
        """Units that each customer holds of each drop that has a limit."""
        units: dict[tuple[str, str], int] = {}
        for found in self.orders.values():
            if found.holds and self.drops[found.wanted.drop_id].limit is not None:
                buyer = (found.wanted.drop_id, found.wanted.customer)
                units[buyer] = units.get(buyer, 0) + found.wanted.units
        return units

    def create_drop(self, drop_id: str, state: str, window: str, limit: int | None, items: dict[str, int]) -> str:
        if drop_id in self.drops:
            return "exists"
        self.drops[drop_id] = Drop(state, window, limit, {sku: Item(stock) for sku, stock in items.items()})
        return "created"

    def set_drop_state(self, drop_id: str, state: str) -> dict[str, str | None]:
        drop = self.drops.get(drop_id)
        if drop is None:
            return {"outcome": "drop_not_found", "state": None}
        before = drop.state
        if state == before:
            return {"outcome": "unchanged", "state": before}
        if state not in _AFTER[before]:
            return {"outcome": "not_allowed", "state": before}
        drop.state = state
        return {"outcome": "ok", "state": before}

    def restock_item(self, drop_id: str, sku: str, quantity: int, ref: str) -> dict[str, Any]:
        drop = self.drops.get(drop_id)
        if drop is None:
            return {"outcome": "drop_not_found"}
        if sku not in drop.items:
            return {"outcome": "unknown_sku"}
        again = (sku, ref) in drop.restocked
        if not again:
            drop.restocked.add((sku, ref))
            drop.items[sku].stock += quantity
        return {"outcome": "replayed" if again else "ok", "stock": drop.items[sku].stock}

    def accept_orders(self, batch: list[Wanted]) -> list[tuple[str, Any]]:
        """The outcome of each request, with what it must tell the buyer: an amount, or what can't be had."""
        refusals = [self._refusal(wanted) for wanted in batch]
        created: dict[str, int] = {}
        for n, (wanted, refusal) in enumerate(zip(batch, refusals, strict=True)):
            if refusal is None and wanted.id not in self.orders:
                created.setdefault(wanted.id, n)
        for one, n in sorted(created.items()):
            self.orders[one] = Order(batch[n])
        verdicts: list[tuple[str, Any]] = []
        for n, (wanted, refusal) in enumerate(zip(batch, refusals, strict=True)):
            if found := self.orders.get(wanted.id):
                same = "replayed" if found.wanted.fingerprint == wanted.fingerprint else "conflict"
                verdicts.append(("created" if created.get(wanted.id) == n else same, found.wanted.cost))
            else:
                assert refusal is not None
                verdicts.append(refusal)
        return verdicts

    def _refusal(self, wanted: Wanted) -> tuple[str, Any] | None:
        drop = self.drops.get(wanted.drop_id)
        if drop is None:
            return "drop_not_found", None
        if drop.state == "ended" or drop.window == "over":
            return "closed", None
        if drop.state == "draft" or drop.window == "early":
            return "not_open", None
        if drop.state == "paused":
            return "paused", None
        if unknown := sorted(wanted.items.keys() - drop.items.keys()):
            return "unknown_sku", unknown
        if wanted.payable and wanted.cost and not wanted.payment_method:
            return "payment_method_required", None
        if wanted.price_off:
            return "price_changed", wanted.cost
        if gone := sorted(sku for sku in wanted.items if drop.items[sku].free <= 0):
            return "sold_out", gone
        return ("payments_unavailable", None) if wanted.cost and not wanted.payable else None

    def reserve_orders(self, ids: Iterable[str]) -> dict[str, str]:
        wanted = set(ids)
        for one, found in self.orders.items():
            if one in wanted and found.status == "accepted" and self.drops[found.wanted.drop_id].state != "paused":
                self._decide(found)
        return self.outcomes("reserve_orders", wanted)

    def _decide(self, found: Order) -> None:
        wanted, drop = found.wanted, self.drops[found.wanted.drop_id]
        bought = self.bought().get((wanted.drop_id, wanted.customer), 0)
        if drop.limit is not None and bought + wanted.units > drop.limit:
            return found.become("rejected", "limit_exceeded")
        if any(drop.items[sku].free < quantity for sku, quantity in wanted.items.items()):
            return found.become("sold_out")
        for sku, quantity in wanted.items.items():
            if wanted.cost:
                drop.items[sku].reserved += quantity
            else:
                drop.items[sku].sold += quantity
        found.become("reserved" if wanted.cost else "confirmed")

    def release_orders(self, ids: Iterable[str]) -> dict[str, str]:
        wanted = set(ids)
        for found in (self.orders[one] for one in wanted & self.orders.keys()):
            if found.status == "reserved":
                for sku, quantity in found.wanted.items.items():
                    self.drops[found.wanted.drop_id].items[sku].reserved -= quantity
            if found.status in ("accepted", "reserved"):
                found.become("cancelled", "operator")
        return self.outcomes("release_orders", wanted)

    def outcomes(self, function: str, ids: Iterable[str]) -> dict[str, str]:
        """What reserve_orders or release_orders says of orders as they are now."""
        said = {"reserve_orders": {"accepted": "paused"}, "release_orders": {"confirmed": "too_late"}}[function]
        statuses = {one: self.orders[one].status if one in self.orders else "unknown_order" for one in ids}
        return {one: said.get(status, status) for one, status in statuses.items()}
