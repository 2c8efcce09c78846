"""A stand-in for Stripe for each test module, and a till on it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import Engine
from tests.contract.stripe_stand_in import KEY, NO_LIMITS, StandIn, running
from tests.till import Till


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with running(*NO_LIMITS) as one:
        yield one


@pytest.fixture
async def till(engine: Engine, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Till]:
    """With ten units at 3500, the commands' environment set, no faults; the books are sound in the end."""
    stand_in.control("faults", {})
    one = Till(engine, stand_in)
    monkeypatch.setenv("MERCHDROP_STRIPE_API_KEY", KEY)
    monkeypatch.setenv("MERCHDROP_STRIPE_API_BASE", one.api_base)
    await one.open()
    yield one
    await one.close()
