"""Who comes to buy: simulated buyers with their orders and their cards, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

# Stripe's test cards: one that pays, two that are declined, and one whose bank asks its owner first (3-D Secure).
CARD = "pm_card_visa"
DECLINED_CARDS = ("pm_card_visa_chargeDeclined", "pm_card_visa_chargeDeclinedInsufficientFunds")
CHALLENGED_CARD = "pm_card_threeDSecure2Required"

Answer = Literal["succeed", "fail", "abandon"]
ANSWERS: dict[Answer, int] = {"succeed": 6, "fail": 2, "abandon": 2}  # what buyers make of the challenge, of ten each


@dataclass(frozen=True)
class Plan:
    """Who comes to buy what, drawn from a seed; `run` sets one run's keys and customers apart from another's.

    `declined` and `challenged` are shares of cards, where there is something to pay.
    """

    run: str
    drop_id: str
    skus: tuple[str, ...]
    buyers: int
    duplicates: float
    max_quantity: int
    connections: int
    seed: int
    is_paid: bool = False
    hold_seconds: int = 0
    declined: float = 0.0
    challenged: float = 0.0


@dataclass
class Buyer:
    """What one buyer sent, and what he was told; `answer` is what he does when his bank asks him."""

    key: str
    body: dict[str, Any]
    copies: int
    answer: Answer | None = None
    visits: int = 0
    order_ids: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    accept_seconds: float | None = None
    status: str | None = None


def draw_buyers(plan: Plan) -> list[Buyer]:
    """The same buyers for the same plan."""
    draw = random.Random(plan.seed)
    return [_draw_buyer(plan, draw, f"{plan.run}-{number}") for number in range(plan.buyers)]


def _draw_buyer(plan: Plan, draw: random.Random, key: str) -> Buyer:
    line = {"sku": draw.choice(plan.skus), "quantity": draw.randint(1, plan.max_quantity)}
    body = {"drop_id": plan.drop_id, "customer": {"id": f"buyer-{key}"}, "items": [line]}
    buyer = Buyer(key, body, copies=2 if draw.random() < plan.duplicates else 1)
    if plan.is_paid:
        body["payment_method"], buyer.answer = _draw_card(plan, draw)
    return buyer


def _draw_card(plan: Plan, draw: random.Random) -> tuple[str, Answer | None]:
    share = draw.random()
    if share < plan.declined:
        return draw.choice(DECLINED_CARDS), None
    if share < plan.declined + plan.challenged:
        return CHALLENGED_CARD, draw.choices(list(ANSWERS), list(ANSWERS.values()))[0]
    return CARD, None
