"""Hold the events that were delivered against those that happened, and both against the states' graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from loadtest.gameday.checker.records import Event, Finding, Order, Records
from loadtest.gameday.checker.states import NEXT


def find(records: Records) -> Iterator[Finding]:
    """Events missing, twice with different content, or out of order; each order's are looked at for themselves."""
    written, delivered = _by_order(records.events), _by_order(records.delivered)
    orders = {order.id: order for order in records.orders}
    for order in orders.values():
        story = sorted(written[order.id], key=lambda event: event.seq)
        text = _broken_story(order, story)
        if text:
            yield Finding("event_missing", order.id, text)
        else:
            yield from _broken_delivery(order.id, story, delivered[order.id])
    for order_id in delivered.keys() - orders.keys():
        yield Finding("event_differs", order_id, "events were delivered, and there is no such order")


def _broken_story(order: Order, story: Sequence[Event]) -> str:
    """What is wrong with the events in the database: they have to lead from accepted to what the order is."""
    states = [event.type.removeprefix("order.") for event in story]
    if [event.seq for event in story] != list(range(1, order.event_seq + 1)):
        return f"its {order.event_seq} events are numbered {[event.seq for event in story]}"
    is_path = all(after in NEXT[before] for before, after in pairwise(states))
    if states[:1] != ["accepted"] or not is_path or states[-1] != order.status:
        return f"is {order.status}; its events say {', '.join(states)}"
    return ""


def _broken_delivery(order_id: str, story: Sequence[Event], delivered: Sequence[Event]) -> Iterator[Finding]:
    first: dict[int, Event] = {}
    for event in delivered:
        if first.setdefault(event.seq, event).body != event.body:
            yield Finding("event_differs", order_id, f"event {event.seq} came with different contents")
            return
    types = {event.seq: event.type for event in story}
    if missing := types.keys() - first.keys():
        yield Finding("event_missing", order_id, f"of {len(types)} events, {sorted(missing)} were never delivered")
    elif {seq: event.type for seq, event in first.items()} != types:
        came = ", ".join(f"{seq} {event.type}" for seq, event in sorted(first.items()))
        yield Finding("event_differs", order_id, f"came: {came}; happened: {', '.join(types.values())}")
    elif list(first) != sorted(first):
        yield Finding("event_order", order_id, f"its events first came in the order {list(first)}")


def _by_order(events: Sequence[Event]) -> defaultdict[str, list[Event]]:
    grouped: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        grouped[event.order_id].append(event)
    return grouped
