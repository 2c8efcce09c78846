"""Who comes to buy what, when, and how he behaves: drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.gameday.checker.records import Key, Sale

CURRENCY = "USD"
HOLD_SECONDS = 20
SKUS = ("S", "M", "L")
LIMITED_TO = 4  # units a customer, in the drop that has a limit
RUSH_SHARE, RUSH_PART = 0.6, 0.25  # so many of a drop's buyers come in the first part of its time
COPIES = (1, 1, 1, 1, 2, 2, 3)  # of his request that a buyer sends at the same moment
AGAIN_SHARE = 0.15  # of the buyers send it once more, later
AGAIN_SECONDS = (1.0, 15.0)
CANCEL_SHARE = 0.08
CANCEL_SECONDS = (0.0, 5.0)
WAITING_SHARE = 0.7  # of the buyers use calls that wait; the others ask again and again
THINK_SECONDS = (0.5, 6.0)  # over a 3-D Secure challenge
CARDS = {  # of 100 buyers
    "pm_card_visa": 68,
    "pm_card_mastercard": 8,
    "pm_card_chargeDeclined": 5,
    "pm_card_chargeDeclinedInsufficientFunds": 4,
    "pm_card_threeDSecure2Required": 12,
    "pm_card_threeDSecureRequiredChargeDeclined": 3,
}
CHALLENGE_ANSWERS = ("succeed", "succeed", "succeed", "fail", "")  # nothing: he never comes back


@dataclass(frozen=True)
class Buyer:
    """One buyer: his request, and what he does besides sending it; times in seconds."""

    key: Key
    body: dict[str, Any]
    arrives_at: float
    copies: int
    again_after: float | None
    cancels_after: float | None
    waits: bool
    challenge_answer: str
    thinks: float


@dataclass(frozen=True)
class Plan:
    """The drops, and everybody who comes."""

    sales: dict[str, Sale]
    limits: dict[str, int] = field(default_factory=dict)  # by drop
    buyers: Sequence[Buyer] = ()
    hold_seconds: int = HOLD_SECONDS


def draw_plan(seed: int, buyers: int, units: int, drops: int, seconds: float) -> Plan:
    """So many buyers and units, shared out among drops that become interesting one after the other.

    The second drop costs nothing, and the third has a limit for each customer.
    """
    draw = random.Random(f"buyers/{seed}")
    names = [f"drop-{number + 1}" for number in range(drops)]
    sales = {}
    for number, name in enumerate(names):
        share = units // drops + (number < units % drops)
        stock = {sku: share // len(SKUS) + (place < share % len(SKUS)) for place, sku in enumerate(SKUS)}
        prices = {sku: 0 if number == 1 else 100 * draw.randint(5, 200) for sku in SKUS}
        sales[name] = Sale(CURRENCY, stock, prices)
    limits = dict.fromkeys(names[2:3], LIMITED_TO)
    crowd = [
        _draw_buyer(draw, number, names[number % drops], sales, limits, _arrival(draw, number % drops, seconds / drops))
        for number in range(buyers)
    ]
    return Plan(sales, limits, crowd)


def _arrival(draw: random.Random, wave: int, seconds: float) -> float:
    in_rush = draw.random() < RUSH_SHARE
    return wave * seconds + draw.uniform(0, seconds * (RUSH_PART if in_rush else 1))


def _draw_buyer(
    draw: random.Random, number: int, drop: str, sales: dict[str, Sale], limits: dict[str, int], arrival: float
) -> Buyer:
    lines = {sku: draw.choice((1, 1, 1, 2, 3)) for sku in draw.sample(SKUS, draw.choice((1, 1, 1, 2)))}
    price = sum(sales[drop].prices[sku] * quantity for sku, quantity in lines.items())
    # where there is a limit, some come back under other keys
    customer = draw.randrange(1 + number // 2) if drop in limits else number
    body: dict[str, Any] = {
        "drop_id": drop,
        "customer": {"id": f"customer-{customer}", "email": f"customer-{customer}@example.com"},
        "items": [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()],
    }
    card = draw.choices(list(CARDS), list(CARDS.values()))[0]
    if price:
        body["payment_method"] = card
    if draw.random() < 0.5:
        body["expected_amount_minor"] = price
    return Buyer(
        key=(drop, f"key-{number}"),
        body=body,
        arrives_at=arrival,
        copies=draw.choice(COPIES),
        again_after=_maybe(draw, AGAIN_SHARE, AGAIN_SECONDS),
        cancels_after=_maybe(draw, CANCEL_SHARE, CANCEL_SECONDS),
        waits=draw.random() < WAITING_SHARE,
        challenge_answer=draw.choice(CHALLENGE_ANSWERS),
        thinks=draw.uniform(*THINK_SECONDS),
    )


def _maybe(draw: random.Random, share: float, seconds: tuple[float, float]) -> float | None:
    return draw.uniform(*seconds) if draw.random() < share else None
