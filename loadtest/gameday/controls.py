"""The game day's controls: how each of the engine's protections is switched off, and what the checker has to say then.

A protection is switched off in the database of that one game day, or in its workers (see altered.py); the product knows
nothing of it. Where a promise stands twice, the constraint goes with the code, as each would hide that the other is
missing. Whatever else lets the control bite is the same in both runs: the one with the protection, which has to be
clean, and the one without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from loadtest.gameday.buyers import Buyer, Plan, draw_plan
from loadtest.gameday.schedule import Fault
from loadtest.gameday.stage import CONNECT_SECONDS

SECONDS = 10.0  # in which the crowd comes
BUYERS = 200
SCARCE, PLENTY = 80, 3_000  # units
GOOD_CARD, CHALLENGED_CARD = "pm_card_visa", "pm_card_threeDSecure2Required"


@dataclass(frozen=True)
class Rewrite:
    """A SQL function of the game day's database in which `old`, found so many times, reads `new`."""

    function: str
    old: str
    new: str
    times: int = 1


Change = Rewrite | str  # or a statement


@dataclass(frozen=True)
class Control:
    """A protection, and how the checker is shown to miss it.

    `given` is changed in both runs, `off` only in the one without the protection; `altered` names the alterations of
    the workers in the two. `kinds` are the findings that the checker has to report then; `besides` may come with them,
    and any other is wrong.
    """

    name: str
    kinds: frozenset[str]
    besides: frozenset[str] = frozenset()
    given: Sequence[Change] = ()
    off: Sequence[Change] = ()
    altered: tuple[str, str] = ("", "")
    faults: Sequence[Fault] = ()
    pubsub_faults: str = ""
    units: int = SCARCE
    drops: int = 4
    hold_seconds: int = 20
    behave: Callable[[Buyer], Buyer] = lambda buyer: buyer
    settles: bool = True  # without the protection: nothing stays undone for ever

    def expects(self, kinds: Set[str]) -> bool:
        """Whether these are the findings without the protection."""
        return self.kinds <= kinds <= self.kinds | self.besides

    def plan(self, seed: int) -> Plan:
        """The crowd of a seed, patient and solvent but for what this control needs; nobody has a limit."""
        plan = draw_plan(seed, BUYERS, self.units, self.drops, SECONDS)
        crowd = [self.behave(replace(_pays_with(buyer, GOOD_CARD), cancels_after=None)) for buyer in plan.buyers]
        return replace(plan, limits={}, buyers=crowd, hold_seconds=self.hold_seconds)


def apply(database_url: str, changes: Sequence[Change]) -> None:
    """Make changes in the game day's database, as its owner."""
    with psycopg.connect(database_url, connect_timeout=CONNECT_SECONDS) as connection:
        for change in changes:
            connection.execute(change if isinstance(change, str) else _rewritten(connection, change))


def _rewritten(connection: psycopg.Connection[Any], change: Rewrite) -> str:
    row = connection.execute("SELECT pg_get_functiondef(%s::text::regproc)", [change.function]).fetchone()
    text = str(row[0]) if row else ""
    if (found := text.count(change.old)) != change.times:
        raise ValueError(f"{change.function} has {found} times {change.old!r}: the control no longer fits the engine")
    return text.replace(change.old, change.new)


def _pays_with(buyer: Buyer, card: str) -> Buyer:
    return replace(buyer, body={**buyer.body, "payment_method": card}) if "payment_method" in buyer.body else buyer


def _stripe(seconds: float, **shares: float) -> Fault:
    return Fault(0.2, "stripe", ", ".join(shares), seconds, shares)


# The engine's own audit sees most of it, too, and pauses the drop. It is the checker that is on trial here.
BLINDFOLD = (
    "CREATE OR REPLACE FUNCTION claim_audit(bounds jsonb) RETURNS jsonb LANGUAGE sql AS"
    """ $$ SELECT '{"drop": null}'::jsonb $$"""
)

_ITEM_LOCKS = """PERFORM 1 FROM items WHERE (drop_id, sku) IN (SELECT w.drop_id, w.sku FROM unnest(lines) AS w)
        ORDER BY drop_id, sku FOR NO KEY UPDATE;"""

_RELEASE_AT_ONCE = """
    CREATE OR REPLACE FUNCTION expire_holds(bounds jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        late uuid[] := ARRAY(SELECT id FROM orders WHERE hold_expires_at <= now());
    BEGIN
        PERFORM lock_orders(late);
        late := ARRAY(SELECT id FROM orders WHERE id = ANY (late) AND status IN ('reserved', 'action_required'));
        UPDATE payments SET state = 'cancelled', due_at = NULL, client_secret = NULL WHERE order_id = ANY (late);
        PERFORM move_order(id, 'expired', 'hold_expired') FROM unnest(late) AS id;
        RETURN jsonb_build_object('expired', cardinality(late));
    END $$
"""

CONTROLS = (
    # Two who decide at once take the same units: the window lets them meet.
    Control(
        "row-lock",
        kinds=frozenset({"oversold"}),
        given=[Rewrite("reserve_orders", "        FOR o IN\n", "        PERFORM pg_sleep(0.2);\n        FOR o IN\n")],
        off=[Rewrite("reserve_orders", _ITEM_LOCKS, ""), "ALTER TABLE items DROP CONSTRAINT items_never_oversold"],
    ),
    # While the database is away nothing but its id says that two requests are one order.
    Control(
        "derived-ids",
        kinds=frozenset({"two_orders", "not_final"}),
        altered=("", "drawn-order-ids"),
        faults=[Fault(1.0, "away", "postgres", 4.0)],
        drops=1,
        settles=False,  # whoever was given an id that nobody knows waits for ever
    ),
    # As the engine confirms only what it has stored, nobody misses the key, unless one call creates and charges.
    Control(
        "stripe-key",
        kinds=frozenset({"charge_too_many"}),
        altered=("charge-at-once", "charge-at-once-without-key"),
        faults=[_stripe(SECONDS, timeout_after=0.5)],
        hold_seconds=600,
    ),
    # A buyer cancels while nobody knows whether he was charged, and Stripe's own word of it gets lost.
    Control(
        "claim-before-charge",
        kinds=frozenset({"charge_too_many"}),
        off=[Rewrite("claim_payments", "CASE state WHEN 'due' THEN 'claimed' ELSE state END", "state")],
        faults=[_stripe(SECONDS + 8, timeout_after=0.5, webhook_loss=1.0)],
        units=2 * SCARCE,
        behave=lambda buyer: replace(buyer, cancels_after=3 + buyer.thinks),
    ),
    # A buyer finishes 3-D Secure when his time is over, and the word of it gets lost.
    Control(
        "hold-rule",
        kinds=frozenset({"charge_too_many"}),
        off=[_RELEASE_AT_ONCE],
        faults=[_stripe(SECONDS + 16, webhook_loss=1.0)],
        hold_seconds=3,
        behave=lambda buyer: replace(_pays_with(buyer, CHALLENGED_CARD), challenge_answer="succeed", thinks=12.0),
    ),
    # An event that leaves the outbox before the queue has taken it is gone when the queue refuses it. While it is tried
    # again, nothing holds the order's next event back.
    Control(
        "outbox",
        kinds=frozenset({"event_missing"}),
        besides=frozenset({"event_order"}),
        off=[
            Rewrite("claim_events", "SET leased_until =", "SET published_at = clock_timestamp(), leased_until ="),
        ],
        pubsub_faults="seed=1,refuse=0.7",
        settles=False,
    ),
    # A message that comes twice is decided twice: its units are held twice, and it is told twice.
    Control(
        "dedupe",
        kinds=frozenset({"unsold", "event_missing"}),
        off=[
            Rewrite("reserve_orders", "r.status = 'accepted'\n", "r.status IN ('accepted', 'reserved')\n", times=2),
            Rewrite("write_decisions", "ORDER BY d.n;", "ORDER BY d.n ON CONFLICT DO NOTHING;"),
            "ALTER TABLE ledger DROP CONSTRAINT ledger_once",
        ],
        faults=[_stripe(SECONDS, slow=1.5)],
        pubsub_faults="seed=1,duplicate=0.6,delay=1",
        units=PLENTY,
    ),
    # Buyers send again what was accepted, when the drop is sold out.
    Control(
        "replay-before-refusal",
        kinds=frozenset({"told_unknown"}),
        off=[
            Rewrite(
                "accept_orders",
                "CASE WHEN o.id IS NULL THEN v.verdict",
                "CASE WHEN v.verdict ? 'outcome' THEN v.verdict",
            )
        ],
        behave=lambda buyer: replace(buyer, again_after=6.0),
    ),
)
