"""Judge a sale: what buyers were told against what the books say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from cli.crowd import FINAL, Buyer

SOLD_OUT = "sold-out"
# The units are gone, or somebody closed the drop meanwhile. Any other refusal of a sound order is a fault.
EXPECTED_REFUSALS = frozenset({SOLD_OUT, "drop-closed"})


@dataclass(frozen=True)
class Booked:
    """What the database says of the sale's drop afterwards."""

    units: int
    sold: int
    available: dict[str, int]
    orders: list[dict[str, Any]]  # of the crowd: order_id, idempotency_key, status, items, …_epoch, decision_seconds
    violations: int


def judge(buyers: list[Buyer], booked: Booked) -> dict[str, Any]:
    """The verdict: figures, and in `wrong` a sentence for every promise that was not kept (empty: a clean sale)."""
    accepted = [buyer for buyer in buyers if buyer.order_ids]
    refused = Counter(name for buyer in buyers if not buyer.order_ids for name in set(buyer.refusals))
    faults = Counter(name for buyer in buyers for name in set(buyer.refusals) - EXPECTED_REFUSALS)
    extra = _extra_orders(buyers, booked)
    unsold_while_wanted = _unsold_while_wanted(booked)
    final = sum(order["status"] in FINAL for order in booked.orders)
    told = {order["idempotency_key"]: order["status"] for order in booked.orders}
    verdict: dict[str, Any] = {
        "units": booked.units,
        "sold": booked.sold,
        "unsold_while_buyers_waited": unsold_while_wanted,
        "buyers": len(buyers),
        "accepted": len(accepted),
        "final": final,
        "sold_out_at_checkout": refused.pop(SOLD_OUT, 0),
        "refused_otherwise": dict(refused),
        "duplicates_sent": sum(buyer.copies - 1 for buyer in buyers),
        "orders_made_from_duplicates": extra,
        "seconds_to_sell_out": _seconds_to_sell_out(booked),
        "accept_seconds": _percentiles([b.accept_seconds for b in accepted if b.accept_seconds is not None]),
        "decision_seconds": _percentiles([order["decision_seconds"] for order in booked.orders]),
        "audit_violations": booked.violations,
    }
    checks = {
        f"{booked.sold} of {booked.units} units were sold": booked.sold > booked.units,
        f"{unsold_while_wanted} units are left that a waiting order could have had": unsold_while_wanted > 0,
        f"{len(booked.orders) - final} accepted orders are not final": final < len(booked.orders),
        "an order that was accepted is not in the books": any(buyer.key not in told for buyer in accepted),
        f"{extra} orders were made from duplicates": extra > 0,
        "a buyer was told something else than the books say": any(
            buyer.status is not None and buyer.status != told.get(buyer.key) for buyer in accepted
        ),
        "a buyer never got a final answer": any(buyer.status not in FINAL for buyer in accepted),
        f"the audit found {booked.violations} violations": booked.violations > 0,
        f"sound orders were refused: {dict(faults)}": bool(faults),
    }
    verdict["wrong"] = [sentence for sentence, broken in checks.items() if broken]
    return verdict


def _extra_orders(buyers: list[Buyer], booked: Booked) -> int:
    """Orders beyond one for each key, by what the buyers were told and by the books together."""
    ids = {buyer.key: set(buyer.order_ids) for buyer in buyers}
    for order in booked.orders:
        ids.setdefault(order["idempotency_key"], set()).add(order["order_id"])
    return sum(max(0, len(of_key) - 1) for of_key in ids.values())


def _unsold_while_wanted(booked: Booked) -> int:
    """Units left of a SKU although an order for no more than those was told that they were sold out."""
    wanted = {
        sku
        for order in booked.orders
        if order["status"] == "sold_out" and all(i["quantity"] <= booked.available[i["sku"]] for i in order["items"])
        for sku in (item["sku"] for item in order["items"])
    }
    return sum(booked.available[sku] for sku in wanted)


def _seconds_to_sell_out(booked: Booked) -> float | None:
    """From the first order to the last one that was won; None if not all was sold, or none of it to this crowd."""
    won = [order["decided_epoch"] for order in booked.orders if order["status"] == "confirmed"]
    if booked.sold < booked.units or not won:
        return None
    return float(round(max(won) - min(order["accepted_epoch"] for order in booked.orders), 3))


def _percentiles(values: list[float]) -> dict[str, float] | None:
    """The 50th and 99th percentile, by nearest rank."""
    if not values:
        return None
    ranked = sorted(values)
    return {f"p{p}": round(ranked[max(0, -(-len(ranked) * p // 100) - 1)], 4) for p in (50, 99)}
