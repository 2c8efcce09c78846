"""Judge a sale: what buyers were told against what the books say, and what was paid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cli.buyers import Buyer
from cli.crowd import FINAL, SOLD_OUT
from cli.sale_money import Checks, compare_money

# The units are gone, or somebody closed the drop meanwhile. Any other refusal of a sound order is a fault.
EXPECTED_REFUSALS = frozenset({SOLD_OUT, "drop-closed"})
_FREED = {"stock": 1, "reserve": -1, "release": 1, "restock": 1}  # what a line of the ledger does to what can be had


@dataclass(frozen=True)
class Booked:
    """What the database says of the sale's drop afterwards; sale_books.py says what is in its rows."""

    units: int
    sold: int
    orders: list[dict[str, Any]]  # of the crowd
    violations: int
    ledger: list[dict[str, Any]] = field(default_factory=list)  # of the drop


def judge(buyers: list[Buyer], booked: Booked, movements: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The verdict: figures, and in `wrong` a sentence for every promise that was not kept (empty: a clean sale).

    `movements` is the payment provider's own list of the money that it moved; without it only the books are judged.
    """
    money, broken_money = compare_money(booked.orders, movements)
    verdict = _figures(buyers, booked, money)
    checks = _checks(buyers, booked, verdict) | broken_money
    verdict["wrong"] = [sentence for sentence, broken in checks.items() if broken]
    return verdict


def _figures(buyers: list[Buyer], booked: Booked, money: dict[str, Any]) -> dict[str, Any]:
    accepted = [buyer for buyer in buyers if buyer.order_ids]
    refused = Counter(name for buyer in buyers if not buyer.order_ids for name in set(buyer.refusals))
    return {
        "units": booked.units,
        "sold": booked.sold,
        "unsold_while_buyers_waited": _unsold_while_wanted(booked),
        "buyers": len(buyers),
        "accepted": len(accepted),
        "final": sum(order["status"] in FINAL for order in booked.orders),
        "orders": dict(Counter(order["status"] for order in booked.orders).most_common()),
        **money,
        "sold_out_at_checkout": refused.pop(SOLD_OUT, 0),
        "refused_otherwise": dict(refused),
        "duplicates_sent": sum(buyer.copies - 1 for buyer in buyers),
        "orders_made_from_duplicates": _extra_orders(buyers, booked),
        "seconds_to_sell_out": _seconds_to_sell_out(booked),
        "accept_seconds": _percentiles([b.accept_seconds for b in accepted if b.accept_seconds is not None]),
        "decision_seconds": _percentiles([o["decided_epoch"] - o["accepted_epoch"] for o in booked.orders]),
        "payment_seconds": _percentiles(
            [o["updated_epoch"] - o["decided_epoch"] for o in booked.orders if _is_won(o) and o["amount_minor"]]
        ),
        "audit_violations": booked.violations,
    }


def _checks(buyers: list[Buyer], booked: Booked, verdict: dict[str, Any]) -> Checks:
    accepted = [buyer for buyer in buyers if buyer.order_ids]
    faults = Counter(name for buyer in buyers for name in set(buyer.refusals) - EXPECTED_REFUSALS)
    told = {order["idempotency_key"]: order["status"] for order in booked.orders}
    unsold, extra = verdict["unsold_while_buyers_waited"], verdict["orders_made_from_duplicates"]
    held, waiting = _held_for_nobody(booked), len(booked.orders) - verdict["final"]
    return {
        f"{booked.sold} of {booked.units} units were sold": booked.sold > booked.units,
        f"{unsold} units were free when a waiting order was told that they were sold out": unsold > 0,
        f"{held} units are held for orders that are over": held > 0,
        f"{waiting} accepted orders are not final": waiting > 0,
        "an order that was accepted is not in the books": any(buyer.key not in told for buyer in accepted),
        f"{extra} orders were made from duplicates": extra > 0,
        "a buyer was told something else than the books say": any(
            buyer.status is not None and not _agree(buyer.status, told.get(buyer.key)) for buyer in accepted
        ),
        "a buyer never got a final answer": any(buyer.status not in FINAL for buyer in accepted),
        f"the audit found {booked.violations} violations": booked.violations > 0,
        f"sound orders were refused: {dict(faults)}": bool(faults),
    }


def _is_won(order: dict[str, Any]) -> bool:
    return bool(order["status"] == "confirmed")


def _agree(told: str, booked: str | None) -> bool:
    """An answer that is final for the buyer may still be followed by one: his money went back."""
    return told == booked or (booked == "refunded" and told in FINAL - {"sold_out", "rejected"})


def _extra_orders(buyers: list[Buyer], booked: Booked) -> int:
    """Orders beyond one for each key, by what the buyers were told and by the books together."""
    ids = {buyer.key: set(buyer.order_ids) for buyer in buyers}
    for order in booked.orders:
        ids.setdefault(order["idempotency_key"], set()).add(order["order_id"])
    return sum(max(0, len(of_key) - 1) for of_key in ids.values())


def _unsold_while_wanted(booked: Booked) -> int:
    """Units that were free when an order for no more than those was told that they were sold out.

    Replays the ledger up to the moment of each such answer; units that came back later wronged nobody. Ledger and
    orders are written under the lock on the item's row, with one clock, so their times tell what happened first.
    """
    answers = [order for order in booked.orders if order["status"] == "sold_out"]
    moments = [(row["epoch"], 0, row) for row in booked.ledger] + [(o["decided_epoch"], 1, o) for o in answers]
    free: Counter[str] = Counter()
    wanted: dict[str, int] = {}
    for _, is_answer, what in sorted(moments, key=lambda moment: moment[:2]):
        if not is_answer:
            free[what["sku"]] += what["quantity"] * _FREED.get(what["kind"], 0)
        elif all(item["quantity"] <= free[item["sku"]] for item in what["items"]):
            wanted |= {i["sku"]: max(free[i["sku"]], wanted.get(i["sku"], 0)) for i in what["items"]}
    return sum(wanted.values())


def _held_for_nobody(booked: Booked) -> int:
    """Units that the ledger holds for orders of the crowd that have ended."""
    ended = {order["order_id"] for order in booked.orders if order["status"] in FINAL}
    signs = {"reserve": 1, "release": -1, "sell": -1}
    return sum(row["quantity"] * signs.get(row["kind"], 0) for row in booked.ledger if row["order_id"] in ended)


def _seconds_to_sell_out(booked: Booked) -> float | None:
    """From the first order to the last one that was won; None if not all was sold, or none of it to this crowd."""
    won = [order["updated_epoch"] for order in booked.orders if _is_won(order)]
    if booked.sold < booked.units or not won:
        return None
    return float(round(max(won) - min(order["accepted_epoch"] for order in booked.orders), 3))


def _percentiles(values: list[float]) -> dict[str, float] | None:
    """The 50th and 99th percentile, by nearest rank."""
    if not values:
        return None
    ranked = sorted(values)
    return {f"p{p}": round(ranked[max(0, -(-len(ranked) * p // 100) - 1)], 4) for p in (50, 99)}
