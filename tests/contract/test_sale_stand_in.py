"""What a sale does behind the stand-in's back: its faults end with it, and money is what the stand-in lists."""

from __future__ import annotations

import click
import pytest

from cli.stand_in import faults_in_force, movements
from local.machine import HOST
from local.stripe_faults import Faults
from tests.contract.stripe_stand_in import running

FAULTS = Faults(seed=7, webhook_loss=0.5)


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt])
def test_faults_are_in_force_until_the_sale_ends_however_it_does(end: type[BaseException] | None) -> None:
    with running() as stand_in:

        def sell() -> None:
            with faults_in_force(_url(stand_in.port), FAULTS):
                assert stand_in.control("faults") == FAULTS.to_json()
                if end:
                    raise end

        if end:
            with pytest.raises(end):
                sell()
        else:
            sell()
        assert stand_in.control("faults") == Faults().to_json()


def test_a_stand_in_that_goes_away_hides_no_error() -> None:
    with running() as stand_in:

        def sell() -> None:
            with faults_in_force(_url(stand_in.port), FAULTS):
                stand_in.kill()
                raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            sell()


def test_money_is_listed_with_its_order() -> None:
    with running() as stand_in:
        paid = stand_in.pay(metadata={"order_id": "o-1"})
        stand_in.refunds.create({"payment_intent": paid.id, "amount": 500})
        listed = [(m["kind"], m["amount"], m["currency"], m["metadata"]) for m in movements(_url(stand_in.port))]
    assert listed == [("capture", 3500, "usd", {"order_id": "o-1"}), ("refund", 500, "usd", {"order_id": "o-1"})]


def test_who_does_not_answer_is_named() -> None:
    with running() as stand_in:
        url = _url(stand_in.port)
    with pytest.raises(click.ClickException, match=f"does not answer at {url}.*merchdrop local start stripe"):
        movements(url)


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"
