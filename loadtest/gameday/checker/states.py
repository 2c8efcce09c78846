"""The states of an order, as DESIGN's graph has them."""

from __future__ import annotations

NEXT = {
    "accepted": {"reserved", "sold_out", "rejected", "cancelled"},
    "reserved": {"confirmed", "action_required", "declined", "expired", "cancelled"},
    "action_required": {"confirmed", "declined", "expired", "cancelled"},
    "confirmed": {"refunded"},
    "declined": {"refunded"},
    "expired": {"refunded"},
    "cancelled": {"refunded"},
    "refunded": set(),
    "sold_out": set(),
    "rejected": set(),
}
UNDECIDED = frozenset({"accepted", "reserved", "action_required"})


def _reachable(state: str) -> frozenset[str]:
    return frozenset({state}).union(*(_reachable(follower) for follower in NEXT[state]))


# Whoever is not told every step may see any state that can be reached in some steps, or the same again.
REACHABLE = {state: _reachable(state) for state in NEXT}
