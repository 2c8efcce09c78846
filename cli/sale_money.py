"""The money of a sale: what the provider moved, by its own list, beside the orders and what the books say of it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from cli.crowd import FINAL

Checks = dict[str, bool]


def compare_money(
    orders: list[dict[str, Any]], movements: list[dict[str, Any]] | None
) -> tuple[dict[str, Any], Checks]:
    """Figures, and sentences that are true if a promise about money was broken.

    `movements` is the provider's whole list, in which each movement names its order; None where nobody has it.
    """
    booked = {
        name: sum((o["payment"] or {}).get(f"{name}_minor", 0) for o in orders) for name in ("captured", "refunded")
    }
    if movements is None:
        return {f"{name}_minor": {"books": booked[name]} for name in booked}, {}
    moved = _by_order(movements)
    listed = {
        name: sum(m["amount"] for o in orders for m in moved[o["order_id"]] if m["kind"] == kind)
        for name, kind in (("captured", "capture"), ("refunded", "refund"))
    }
    figures = {f"{name}_minor": {"provider": listed[name], "books": booked[name]} for name in booked}
    return figures, _checks([(order, moved[order["order_id"]]) for order in orders]) | {
        f"the provider {name} {listed[name]}, the books say {booked[name]}": listed[name] != booked[name]
        for name in booked
    }


def _by_order(movements: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    moved = defaultdict(list)
    for movement in movements:
        moved[movement["metadata"].get("order_id", "")].append(movement)
    return moved


def _checks(orders: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> Checks:
    """A confirmed order may have got a part of its money back; it has paid nevertheless."""
    odd = twice = unpaid = kept = 0
    for order, moved in orders:
        captures = [(m["amount"], m["currency"].upper()) for m in moved if m["kind"] == "capture"]
        net = sum(m["amount"] if m["kind"] == "capture" else -m["amount"] for m in moved)
        odd += any(capture != (order["amount_minor"], order["currency"]) for capture in captures)
        twice += net > order["amount_minor"]
        unpaid += order["status"] == "confirmed" and net <= 0 < order["amount_minor"]
        kept += order["status"] in FINAL - {"confirmed"} and net != 0
    return {
        f"{odd} orders were charged another amount than theirs": odd > 0,
        f"{twice} orders were charged more than once": twice > 0,
        f"{unpaid} orders are confirmed without any money": unpaid > 0,
        f"{kept} orders are not confirmed, and their money didn't come to nothing": kept > 0,
    }
