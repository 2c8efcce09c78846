"""`merchdrop order …`: look at an order, call it off, give its money back."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click

from cli.database import Books, with_books
from cli.output import UNDER_WAY, common_options, moment, print_fields, print_json, print_table
from cli.provider import NoProvider, payment_provider
from common.charges import Charges
from common.payment_contracts import RefundRequest, RefundRequested
from common.refunds import Refunds
from common.settings import AMOUNT_MINOR_MAX, PAYMENTS_PER_SECOND

# A payment's client secret is its buyer's alone.
_ORDER = """
SELECT o.order_id, o.drop_id, o.idempotency_key, o.status, o.reason, o.items, o.amount_minor, o.currency, o.accepted_at,
    o.updated_at,
    (SELECT to_jsonb(p) FROM (SELECT state, provider_ref, captured_minor, refunded_minor, refunding_minor, last_error
                              FROM shown_payments WHERE order_id = o.order_id) p) AS payment,
    (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY created_at), '[]')
     FROM shown_refunds r WHERE order_id = o.order_id) AS refunds
FROM shown_orders o WHERE o.order_id = $1
"""
_OPEN = ("reserved", "action_required")

_order_argument = click.argument("order_id", type=click.UUID)


@click.group()
def order() -> None:
    """Look at orders, cancel them, give money back."""


@order.command()
@_order_argument
@common_options
def show(order_id: UUID, data_dir: Path, as_json: bool) -> None:
    """Show an order, its payment and its refunds."""
    found = with_books(data_dir, lambda books: _find(books, order_id))
    if as_json:
        print_json(found)
    else:
        _print_order(found)


@order.command()
@_order_argument
@common_options
def cancel(order_id: UUID, data_dir: Path, as_json: bool) -> None:
    """Cancel an order that is not paid for.

    If it may have been charged, its payment is called off first: its units go back on sale when the provider says that
    nobody can pay for them any more.

    Exit status: 0 it is over, 1 it is paid for (`merchdrop order refund` gives the money back), 3 its payment is still
    being called off, and reconcile goes on with that.
    """

    async def release(books: Books) -> dict[str, Any]:
        (released,) = await books.call("release_orders", [{"order_id": str(order_id), "reason": "operator"}])
        if released["outcome"] == "cancelling":
            try:
                async with payment_provider(data_dir) as provider:
                    await Charges(books, provider, PAYMENTS_PER_SECOND).work_on([str(order_id)])
            except NoProvider as error:
                click.echo(f"It can't be called off from here: {error.message}", err=True)
        return await _find(books, order_id)

    found = with_books(data_dir, release)
    if found["status"] == "confirmed":
        instead = f"; `merchdrop order refund {order_id}` gives the money back" if found["payment"] else ""
        raise click.ClickException(f"order {order_id} is confirmed, too late to cancel it{instead}")
    if as_json:
        print_json(found)
    elif found["status"] in _OPEN:
        click.echo(
            f"{order_id} is still {found['status']}: its payment is being called off, and reconcile goes on with it"
        )
    else:
        before = "" if found["reason"] == "operator" else ": there is nothing to cancel"
        click.echo(f"{order_id} is {found['status']}{before}")
    if found["status"] in _OPEN:
        raise SystemExit(UNDER_WAY)


@order.command()
@_order_argument
@click.option(
    "--amount", type=click.IntRange(1, AMOUNT_MINOR_MAX), metavar="MINOR", help="A part.  [default: all that is left]"
)
@click.option("--restock", is_flag=True, help="Put its units back on sale, with the last of the money.")
@click.option(
    "--refund-id", type=click.UUID, metavar="UUID", help="With the same id, it is one refund however often it is sent."
)
@common_options
def refund(
    order_id: UUID, amount: int | None, restock: bool, refund_id: UUID | None, data_dir: Path, as_json: bool
) -> None:
    """Give money back, never more than was captured.

    The refund is written down first, and then made, once, whatever crashes in between. A script draws a --refund-id,
    and may repeat the command with it.

    Exit status: 0 the money is on its way to the buyer, 1 it is not, 3 it is written down, the provider has not made it
    yet, and reconcile goes on with it: another refund would be one more.
    """
    wanted: RefundRequest = {
        "refund_id": str(refund_id or uuid4()),
        "order_id": str(order_id),
        "amount_minor": amount,
        "restock": restock,
    }

    async def give_back(books: Books) -> tuple[RefundRequested, dict[str, Any] | None]:
        async with payment_provider(data_dir) as provider:
            requested: RefundRequested = await books.call("request_refund", wanted)
            if requested["outcome"] in ("recorded", "replayed"):
                await Refunds(books, provider).work([wanted["refund_id"]])
        return requested, await _look(books, order_id)

    try:
        requested, found = with_books(data_dir, give_back)
    except NoProvider:
        raise
    except click.ClickException as error:
        raise click.ClickException(
            f"{error.message}. The refund may be written down all the same: repeat it with --refund-id"
            f" {wanted['refund_id']}, and it is made once"
        ) from error
    if found is None:
        raise _no_order(order_id)
    if requested["outcome"] not in ("recorded", "replayed"):
        raise click.ClickException(_refusal(requested, found))
    _tell_refund(requested, found, as_json)


def _refusal(requested: RefundRequested, found: dict[str, Any]) -> str:
    """Why nothing was written down, and what to do instead."""
    order_id, payment, left = found["order_id"], found["payment"], _money(requested["left_minor"], found)
    match requested["outcome"]:
        case "conflict":
            return (
                f"another refund has the id {requested['refund_id']}: other order, amount or --restock; take a new one"
            )
        case "too_much":
            return f"of order {order_id}, {left} can still be refunded, no more"
        case "not_all":
            return (
                f"units go back on sale with the last of the money alone, here {left}; leave out --amount, or --restock"
            )
    if payment is None or payment["captured_minor"] == 0:
        instead = f"; `merchdrop order cancel {order_id}` calls it off" if found["status"] in _OPEN else ""
        return f"order {order_id} is {found['status']}, and no money was captured for it{instead}"
    done, open_minor = _money(payment["refunded_minor"], found), payment["refunding_minor"]
    on_the_way = f", and {_money(open_minor, found)} are on their way" if open_minor else ""
    return f"of order {order_id}, nothing is left to refund: {done} went back{on_the_way}"


def _tell_refund(requested: RefundRequested, found: dict[str, Any], as_json: bool) -> None:
    (made,) = (refund for refund in found["refunds"] if refund["refund_id"] == requested["refund_id"])
    if made["state"] == "failed":
        raise click.ClickException(
            f"the provider will not make the refund {made['refund_id']} ({made['last_error']}): no money went back."
            f" Look at the payment {found['payment']['provider_ref']} there"
        )
    is_made = made["state"] == "succeeded"
    if as_json:
        print_json({**made, "left_minor": requested["left_minor"], "replayed": requested["outcome"] == "replayed"})
    else:
        print_fields(
            {
                "refund": made["refund_id"],
                "order": f"{found['order_id']}, {found['status']}",
                "amount": _money(made["amount_minor"], found),
                "state": "made"
                if is_made
                else f"written down, not made yet ({made['last_error'] or 'somebody is at it'})",
                "left": _money(requested["left_minor"], found),
            }
        )
    if not is_made:
        raise SystemExit(UNDER_WAY)


async def _look(books: Books, order_id: UUID) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = await books.rows(_ORDER, order_id)
    return found[0] if found else None


async def _find(books: Books, order_id: UUID) -> dict[str, Any]:
    if (found := await _look(books, order_id)) is None:
        raise _no_order(order_id)
    return found


def _no_order(order_id: UUID) -> click.ClickException:
    return click.ClickException(f"there is no order {order_id} in the database; it may still be in the queue")


def _money(minor: int, found: dict[str, Any]) -> str:
    return f"{minor} ({found['currency']}, minor units)"


def _print_order(found: dict[str, Any]) -> None:
    payment: dict[str, Any] = found["payment"] or {}
    print_fields(
        {
            "order": found["order_id"],
            "drop": found["drop_id"],
            "key": found["idempotency_key"],
            "status": found["status"],
            "reason": found["reason"],
            "amount": _money(found["amount_minor"], found),
            "payment": payment.get("state"),
            "at provider": payment.get("provider_ref"),
            "captured": payment.get("captured_minor"),
            "refunded": payment.get("refunded_minor"),
            "last trouble": payment.get("last_error"),
            "accepted": f"{moment(found['accepted_at'])} UTC",
            "updated": f"{moment(found['updated_at'])} UTC",
        }
    )
    click.echo()
    columns = ("sku", "quantity", "unit_price_minor")
    print_table(("sku", "quantity", "unit price"), [[item[name] for name in columns] for item in found["items"] or []])
    if found["refunds"]:
        click.echo()
        names = ("refund_id", "amount_minor", "reason", "state")
        print_table(
            ("refund", "amount", "reason", "state"), [[made[name] for name in names] for made in found["refunds"]]
        )
