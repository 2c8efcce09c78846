"""The game day's controls fit the engine: what they take out is there, and without it the engine still sells."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from loadtest.gameday.altered import ALTERATIONS
from loadtest.gameday.checker.check import KINDS
from loadtest.gameday.controls import BLINDFOLD, CONTROLS, Control, Rewrite, apply
from local.recipes import ROOT
from tests.conftest import Engine, order

PRICE = 70
CLAIM = {"limit": 9, "pace": 1e9, "burst": 9, "lease_seconds": 60}


@pytest.mark.parametrize("control", CONTROLS, ids=[control.name for control in CONTROLS])
async def test_without_a_protection_an_order_is_sold(engine: Engine, control: Control) -> None:
    await engine.create_drop(price=PRICE)
    apply(engine.url, [BLINDFOLD, *control.given, *control.off])
    wanted = order("key", payable=True, request={"payment_method": "card"})
    one = wanted["order_id"]
    assert [verdict["outcome"] for verdict in await engine.accept(wanted)] == ["created"]
    assert await engine.reserve(one) == {one: "reserved"}
    assert len((await engine.call("claim_payments", CLAIM))["claimed"]) == 1
    fact = {"order_id": one, "provider_ref": "pi-1"}
    await engine.call("settle_payments", [{**fact, "outcome": "created"}])
    settled = await engine.call("settle_payments", [{**fact, "outcome": "captured", "captured_minor": PRICE}])
    assert settled[0]["outcome"] == "confirmed"
    assert await engine.call("expire_holds", {"limit": 9}) == {"expired": 0}
    assert len(await engine.call("claim_events", {"limit": 9, "lease_seconds": 60})) == 3
    assert await engine.call("claim_audit", {"pause_seconds": 0, "seal_after_seconds": 0}) == {"drop": None}


async def test_a_control_that_finds_nothing_to_take_out_changes_nothing(engine: Engine) -> None:
    before = await engine.connection.fetchval("SELECT pg_get_functiondef('claim_audit'::regproc)")
    with pytest.raises(ValueError, match="no longer fits"):
        apply(engine.url, [BLINDFOLD, Rewrite("reserve_orders", "what nobody wrote", "")])
    assert await engine.connection.fetchval("SELECT pg_get_functiondef('claim_audit'::regproc)") == before


async def test_a_statement_that_fails_is_not_passed_over(engine: Engine) -> None:
    with pytest.raises(psycopg.Error):
        apply(engine.url, ["ALTER TABLE items DROP CONSTRAINT no_such_constraint"])


def test_the_workers_can_be_altered() -> None:
    """In a process of its own, and all in one: it is the imports that take time."""
    code = "from loadtest.gameday.altered import ALTERATIONS as a; print([name for name in a if not a[name]()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.strip() == str(list(ALTERATIONS)), done.stderr
    assert {name for control in CONTROLS for name in control.altered if name} == ALTERATIONS.keys()


@pytest.mark.parametrize("control", CONTROLS, ids=[control.name for control in CONTROLS])
def test_every_control_switches_something_off_and_is_in_the_table(control: Control) -> None:
    assert control.off or control.altered[0] != control.altered[1]
    assert control.kinds
    assert control.kinds | control.besides <= KINDS.keys()
    rows = (ROOT / "docs" / "gameday.md").read_text().splitlines()
    row = next(row for row in rows if row.startswith(f"| `{control.name}` |"))
    assert all(f"`{kind}`" in row for kind in control.kinds | control.besides)


def test_only_what_a_control_expects_is_right() -> None:
    control = Control("", kinds=frozenset({"unsold"}), besides=frozenset({"miscounted"}))
    assert control.expects({"unsold"})
    assert control.expects({"unsold", "miscounted"})
    assert not control.expects(set())
    assert not control.expects({"miscounted"})
    assert not control.expects({"unsold", "oversold"})
