"""The model of the engine: what the SQL functions promise, one call after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.race.books import Drop, Item, Order, Payment, Wanted
from tests.race.payments_model import Payments

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


class Model(Payments):
    """The books, and each SQL function as a method that answers as the function does."""

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
        if wanted.cost:
            self.payments[wanted.id] = Payment(wanted.cost)

    def release_orders(self, ids: Iterable[str]) -> dict[str, str]:
        wanted = set(ids)
        for one in wanted & self.orders.keys():
            payment = self.payments.get(one)
            if payment is None or payment.state == "due":
                if self.orders[one].status in ("accepted", "reserved"):
                    self.move_order(one, "cancelled", "operator")
                    if payment:
                        payment.state, payment.is_due = "cancelled", None
            elif self.orders[one].is_held:
                payment.ending, payment.is_due = payment.ending or "operator", True
        return self.outcomes("release_orders", wanted)

    def outcomes(self, function: str, ids: Iterable[str]) -> dict[str, str]:
        """What reserve_orders or release_orders says of orders as they are now."""
        said = {
            "reserve_orders": {"accepted": "paused"},
            "release_orders": {
                "reserved": "cancelling",
                "action_required": "cancelling",
                "confirmed": "too_late",
                "refunded": "too_late",
            },
        }[function]
        statuses = {one: self.orders[one].status if one in self.orders else "unknown_order" for one in ids}
        return {one: said.get(status, status) for one, status in statuses.items()}
