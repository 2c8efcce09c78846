"""The Stripe stand-in refuses what it has no room for, and forgets nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from local import stripe_journal, stripe_keys, stripe_store
from local.stripe_api import Api, Call
from local.stripe_errors import Full
from local.stripe_records import Change, Event
from local.stripe_store import Store

PARAMS: dict[str, Any] = {
    "amount": 100,
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "payment_method_types": [],
}


def create(store: Store, key: str) -> None:
    endpoint = next(one for one in Api(store).endpoints() if (one.method, one.path) == ("POST", "/v1/payment_intents"))
    change = endpoint.work(Call(key, "", PARAMS, False))
    assert isinstance(change, Change)
    store.commit(change, "req_1", key, "fingerprint")


@pytest.mark.parametrize(
    ("module", "bound", "value"),
    [(stripe_store, "PAYMENTS_MAX", 2), (stripe_keys, "KEYS_MAX", 2), (stripe_journal, "BYTES_MAX", 1_000)],
)
def test_a_bound_that_is_reached_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, bound: str, value: int
) -> None:
    monkeypatch.setattr(module, bound, value)
    store = Store(tmp_path / "journal")
    create(store, "one")
    create(store, "two")
    with pytest.raises(Full, match="new"):
        create(store, "three")
    for same in (store, Store(tmp_path / "journal")):
        assert (len(same.payment_intents), len(same.keys)) == (2, 2)
        assert same.keys.find("one", "fingerprint", same.now()) is not None
        assert same.keys.find("three", "fingerprint", same.now()) is None


def test_keys_of_yesterday_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_keys, "KEYS_MAX", 2)
    store = Store(None)
    create(store, "one")
    create(store, "two")
    store.advance(24 * 3600)
    create(store, "three")
    assert len(store.keys) == 1


def test_a_disk_that_is_full_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "journal")
    create(store, "one")
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, line: write(file, line[:10]))
        with pytest.raises(OSError, match="disk full"):
            create(store, "two")
    create(store, "three")
    for same in (store, Store(tmp_path / "journal")):
        assert len(same.payment_intents) == 2
        assert same.keys.find("two", "fingerprint", same.now()) is None


def test_events_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_store, "EVENTS_MAX", 2)
    store, told = Store(None), list[Event]()
    store.tell = told.append
    for key in ("one", "two", "three"):
        create(store, key)
    assert len(told) == len(store.waiting_events) == 2
    store.forget_event(told[0])
    create(store, "four")
    assert len(told) == 3
