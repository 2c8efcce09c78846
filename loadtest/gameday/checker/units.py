"""Count the units: none sold twice, none withheld from an order that waited for it, none held by nobody."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

from loadtest.gameday.checker.records import Finding, Order, Records

Place = tuple[str, str]  # drop and SKU
History = tuple[list[float], list[int]]  # the moments at which an item's free units changed, and how many from then on
# What an entry of the ledger does to the units that are free.
_EFFECT = {"stock": 0, "reserve": -1, "release": 1, "sell": 0, "restock": 1}


def find(records: Records) -> Iterator[Finding]:
    """By the lines of the orders, by the counters, and by the ledger at each moment."""
    stock = {(drop, sku): units for drop, sale in records.sales.items() for sku, units in sale.stock.items()}
    free = _free_over_time(records, stock)
    yield from _miscounted(records, stock, free)
    yield from _unsold(records, free)


def _miscounted(records: Records, stock: dict[Place, int], free: dict[Place, History]) -> Iterator[Finding]:
    sold, held = Counter[Place](), Counter[Place]()
    for order in records.orders:
        lines = {(order.key[0], sku): quantity for sku, quantity in order.lines.items()}
        if order.status == "confirmed":
            sold.update(lines)
        elif order.status in ("reserved", "action_required"):
            held.update(lines)
    counters = {(item.drop_id, item.sku): item for item in records.items}
    for place, units in stock.items():
        name = "/".join(place)
        most = units - min(free[place][1])
        if (given := max(most, sold[place] + held[place])) > units:
            yield Finding("oversold", name, f"{given} of {units} units were given away")
        elif (item := counters.get(place)) is None:
            yield Finding("miscounted", name, "the database has no such item")
        elif item.reserved > held[place]:
            yield Finding("unsold", name, f"{item.reserved - held[place]} units are held, and no order holds them")
        elif (item.stock, item.reserved, item.sold) != (units, held[place], sold[place]):
            told = f"{item.sold} sold and {item.reserved} held of {item.stock}"
            yield Finding(
                "miscounted", name, f"{sold[place]} sold and {held[place]} held of {units}; counted are {told}"
            )


def _free_over_time(records: Records, stock: dict[Place, int]) -> dict[Place, History]:
    free: dict[Place, History] = {place: ([0.0], [units]) for place, units in stock.items()}
    for entry in records.ledger:
        if change := _EFFECT[entry.kind] * entry.quantity:
            times, units = free[entry.drop_id, entry.sku]
            times.append(entry.at)
            units.append(units[-1] + change)
    return free


def _unsold(records: Records, free: dict[Place, History]) -> Iterator[Finding]:
    """Orders that were refused although all they asked for was free.

    What an order is decided on is written under its items' locks, so the ledger up to that moment is all there was.
    """
    refused = {event.order_id: event.at for event in records.events if event.type == "order.sold_out"}
    for order in records.orders:
        if order.id in refused and all(
            _units_at(free[order.key[0], sku], refused[order.id]) >= quantity for sku, quantity in order.lines.items()
        ):
            yield Finding("unsold", order.id, f"was told sold_out while {_words(order)} were free")


def _units_at(history: History, moment: float) -> int:
    times, units = history
    return units[bisect_right(times, moment) - 1]


def _words(order: Order) -> str:
    return ", ".join(f"{quantity} of {sku}" for sku, quantity in sorted(order.lines.items()))
