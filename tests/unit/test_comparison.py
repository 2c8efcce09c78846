"""What moves while the provider lists its payments is no difference; what both readings of our books miss is one."""

from __future__ import annotations

import pytest

from cli.comparison import OurPayment, compare
from common.payments import ProviderPayment

LISTED_OPEN = ProviderPayment("pi", "one", "open", 500, "EUR", 0, 0)
LISTED_CAPTURED = ProviderPayment("pi", "one", "captured", 500, "EUR", 500, 0)
LISTED_REFUNDED = ProviderPayment("pi", "one", "captured", 500, "EUR", 500, 500)


def ours(status: str, captured: int = 0, refunded: int = 0, refunding: int = 0, ref: str | None = "pi") -> OurPayment:
    return {
        "order_id": "one",
        "status": status,
        "provider_ref": ref,
        "amount_minor": 500,
        "currency": "EUR",
        "captured_minor": captured,
        "refunded_minor": refunded,
        "refunding_minor": refunding,
    }


RESERVED, CONFIRMED, REFUNDED = ours("reserved"), ours("confirmed", 500), ours("refunded", 500, 500)


@pytest.mark.parametrize(
    ("before", "listed", "after"),
    [
        ([RESERVED], LISTED_OPEN, [CONFIRMED]),  # captured after it was listed
        ([], LISTED_CAPTURED, [CONFIRMED]),  # ordered while the list was made
        ([CONFIRMED], LISTED_REFUNDED, [REFUNDED]),
        ([ours("reserved", ref=None)], LISTED_CAPTURED, [CONFIRMED]),
    ],
)
def test_what_moves_meanwhile_is_no_difference(
    before: list[OurPayment], listed: ProviderPayment, after: list[OurPayment]
) -> None:
    assert compare("EUR", before, [listed], after).differences == []
    still = before if compare("EUR", before, [listed], before).differences else after
    assert compare("EUR", still, [listed], still).differences  # what it would be if nothing moved


def test_totals_of_another_currency_are_not_added_up() -> None:
    listed = ProviderPayment("pi", "one", "captured", 500, "JPY", 500, 0)
    found = compare("EUR", [CONFIRMED], [listed], [CONFIRMED])
    assert [difference.kind for difference in found.differences] == ["wrong_currency"]
    assert (found.here.net_minor, found.there.net_minor) == (500, 0)


@pytest.mark.parametrize(
    ("row", "listed", "kinds"),
    [
        (RESERVED, LISTED_OPEN, []),
        (RESERVED, LISTED_CAPTURED, []),
        (ours("reserved", ref=None), None, []),
        (RESERVED, None, ["missing_there"]),
        (RESERVED, ProviderPayment("pi", "one", "open", 400, "EUR", 0, 0), ["wrong_amount"]),
        (RESERVED, ProviderPayment("pi", "one", "open", 500, "USD", 0, 0), ["wrong_currency"]),
        (ours("confirmed", 500, refunding=500), LISTED_CAPTURED, []),
        (ours("confirmed", 500, refunding=500), LISTED_REFUNDED, []),
        (ours("confirmed", 500, refunding=400), LISTED_REFUNDED, ["refunded_differs"]),
        (ours("confirmed", 500, 100, refunding=400), LISTED_CAPTURED, ["refunded_differs"]),
        (ours("expired"), LISTED_OPEN, []),  # unconfirmed, and nobody has its secret
        (ours("expired"), ProviderPayment("pi", "one", "failed", 500, "EUR", 0, 0), ["open_there"]),
    ],
)
def test_what_is_under_way_may_be_a_step_behind_and_no_more(
    row: OurPayment, listed: ProviderPayment | None, kinds: list[str]
) -> None:
    found = compare("EUR", [row], [listed] if listed else [], [row])
    assert [difference.kind for difference in found.differences] == kinds
