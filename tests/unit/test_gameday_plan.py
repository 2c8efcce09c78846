"""The game day's plan: the same seed draws the same faults and buyers, and a long enough run meets everything."""

from __future__ import annotations

import itertools
import json
from html.parser import HTMLParser
from typing import Any

from loadtest.gameday.buyers import LIMITED_TO, draw_plan
from loadtest.gameday.checker.records import Answer, Event, Movement, Records
from loadtest.gameday.page import render
from loadtest.gameday.saboteur import Done
from loadtest.gameday.schedule import Fault, Schedule, draw_schedule
from loadtest.gameday.subscriber import parse
from loadtest.gameday.timeline import make_timeline
from local.pubsub_faults import Faults as QueueFaults
from local.stripe_faults import Faults as StripeFaults

SECONDS = 60.0


def draw(seed: int) -> Schedule:
    return draw_schedule(seed, SECONDS, instances=2)


def test_a_seed_draws_the_same_schedule_and_crowd_and_another_seed_others() -> None:
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw_plan(1, 50, 10, 4, SECONDS) == draw_plan(1, 50, 10, 4, SECONDS)
    assert draw_plan(1, 50, 10, 4, SECONDS).buyers != draw_plan(2, 50, 10, 4, SECONDS).buyers


def test_faults_of_every_kind_come_within_their_time_and_twenty_seeds_meet_them_all() -> None:
    met = set()
    for seed in range(1, 21):
        faults = draw(seed).faults
        assert {fault.kind for fault in faults} >= {"kill", "away", "stripe"}
        assert all(fault.at > 0 and fault.at + fault.seconds < SECONDS for fault in faults)
        met |= {(fault.kind, fault.target.partition("-")[0], *fault.shares) for fault in faults}
    parts = {"checkout", "process_order", "charge_order", "pubsub", "stripe", "postgres"}
    assert {target for kind, target, *_ in met if kind == "kill"} == {*parts, "reconcile"}
    assert {target for kind, target, *_ in met if kind == "away"} == {*parts, "scheduler"}
    assert {("crash", "postgres"), ("cut", "postgres")} <= met
    shares = {name for _, _, *names in met for name in names}
    assert shares == set(StripeFaults.__dataclass_fields__) - {"seed"}


def test_no_part_is_away_twice_at_a_time_nor_the_provider_in_two_moods() -> None:
    for seed in range(1, 21):
        faults = draw(seed).faults
        for lane in (
            [fault for fault in faults if fault.kind == "away" and fault.target != "scheduler"],
            [fault for fault in faults if fault.kind == "stripe"],
        ):
            assert all(one.at + one.seconds < other.at for one, other in itertools.pairwise(lane))


def test_the_faults_are_such_as_queue_and_provider_know() -> None:
    schedule = draw(1)
    assert QueueFaults.parse(schedule.pubsub_faults).seed == 1
    for fault in schedule.faults:
        StripeFaults.of(fault.shares)


def test_one_instance_of_a_function_has_the_functions_own_name() -> None:
    targets = {fault.target for fault in draw_schedule(1, SECONDS, instances=1).faults if fault.kind == "kill"}
    assert "checkout" in targets
    assert not any("-" in target for target in targets)


def test_units_are_shared_out_and_orders_are_what_their_buyers_are_to_ask_for() -> None:
    plan = draw_plan(3, 400, 101, 4, SECONDS)
    assert sum(sum(sale.stock.values()) for sale in plan.sales.values()) == 101
    assert plan.limits == {"drop-3": LIMITED_TO}
    assert len({buyer.key for buyer in plan.buyers}) == 400
    for buyer in plan.buyers:
        sale = plan.sales[buyer.key[0]]
        price = sum(sale.prices[line["sku"]] * line["quantity"] for line in buyer.body["items"])
        assert buyer.body.get("expected_amount_minor", price) == price
        assert ("payment_method" in buyer.body) == (price > 0)
        assert 0 <= buyer.arrives_at <= SECONDS


def test_an_event_is_read_as_it_is_sent() -> None:
    sent = {"event_id": "7", "seq": 2, "type": "order.reserved", "occurred_at": "1970-01-01T00:01:00+00:00"}
    event = parse(json.dumps({**sent, "order": {"order_id": "x", "status": "reserved"}}).encode())
    assert (event.order_id, event.seq, event.type, event.at) == ("x", 2, "order.reserved", 60.0)
    assert '"status": "reserved"' in event.body


def records() -> Records:
    key = ("drop", "key")
    return Records(
        answers=[
            Answer(0.1, 0.5, "checkout", key, 0),
            Answer(0.6, 1.2, "checkout", key, 202, "x", "accepted"),
            Answer(2.0, 2.5, "checkout", key, 202, "x", "accepted"),
            Answer(3.0, 5.1, "status", key, 503),
        ],
        events=[Event("x", 1, "order.accepted", 101.1), Event("x", 2, "order.reserved", 104.2)],
        movements=[Movement("capture", "x", 5, "usd", 104.9), Movement("refund", "x", 5, "usd", 105.0)],
    )


def test_the_timeline_counts_what_happened_in_every_second() -> None:
    accepts, reservations, charges, ages, errors = (series.values for series in make_timeline(records(), epoch=100.0))
    assert accepts == [0, 1, 0, 0, 0, 0]
    assert reservations == charges == [0, 0, 0, 0, 1, 0]
    assert ages == [0, 0.9, 1.9, 2.9, 0, 0]
    assert errors == [1, 0, 0, 0, 0, 1]


class _Page(HTMLParser):
    """What a page holds, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def verdict(**changes: Any) -> dict[str, Any]:
    figures = {"buyers": 1}
    base = {"seed": 7, "command": "make gameday SEED=7", "wrong": [], "findings": [], "figures": figures}
    return {**base, "faults_stopped_seconds": 5.0, **changes}


def test_the_page_shows_faults_findings_and_how_to_repeat_them_and_loads_nothing() -> None:
    finding = {"kind": "oversold", "subject": "<b>", "text": "</script>"}
    done = Done(Fault(1, "stripe", "decline", 2, {"decline": 0.3}), 1.0, 3.0, "</script>")
    page = render(
        verdict(wrong=["a unit was sold twice (1)"], findings=[finding]), make_timeline(records(), 100.0), [done]
    )
    seen = _Page(page)
    assert seen.links == []
    assert seen.tags.count("polyline") == 5
    assert seen.tags.count("script") == page.count("</script>") == 1
    assert "make gameday SEED=7" in page
    assert "a unit was sold twice" in page
    assert "<b>" not in page


def test_a_run_without_faults_or_answers_has_a_page_too() -> None:
    assert "Clean" in render(verdict(), make_timeline(Records(), 0.0), [])
