"""Hold every movement of money against the order that it belongs to, at the price that was on the tag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from loadtest.gameday.checker.records import Finding, Movement, Order, Records


def find(records: Records) -> Iterator[Finding]:
    """Charges too many, missing, or of a wrong amount."""
    moved: dict[str, list[Movement]] = defaultdict(list)
    for movement in records.movements:
        moved[movement.order_id].append(movement)
    orders = {order.id: order for order in records.orders}
    for order_id in moved.keys() - orders.keys():
        yield Finding("charge_too_many", order_id, f"{_words(moved[order_id])}, and there is no such order")
    for order in orders.values():
        yield from _of_order(records, order, moved[order.id])


def _of_order(records: Records, order: Order, moved: list[Movement]) -> Iterator[Finding]:
    drop_id = order.key[0]
    sale = records.sales[drop_id]
    # what the buyer asked for, not what the database made of it
    price = sum(sale.prices[sku] * quantity for sku, quantity in records.wanted.get(order.key, order.lines).items())
    captures = [movement for movement in moved if movement.kind == "capture"]
    refunded = sum(movement.amount for movement in moved if movement.kind == "refund")
    due = int(price > 0 and order.status in ("confirmed", "refunded"))
    back = price if order.status == "refunded" else 0
    if len(captures) > due:
        yield Finding("charge_too_many", order.id, f"is {order.status}: {_words(captures)}")
    elif len(captures) < due:
        yield Finding("charge_missing", order.id, f"is {order.status}, costs {price}, and nothing was captured")
    elif any((one.amount, one.currency.upper()) != (price, sale.currency) for one in captures):
        yield Finding("charge_wrong", order.id, f"costs {price} {sale.currency}: {_words(captures)}")
    elif refunded != back:
        yield Finding("charge_wrong", order.id, f"is {order.status}: {refunded} went back, {back} should have")


def _words(moved: list[Movement]) -> str:
    return ", ".join(f"{movement.kind} of {movement.amount} {movement.currency.upper()}" for movement in moved)
