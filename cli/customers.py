"""`merchdrop customer erase`: forget a customer who asks for it."""

from __future__ import annotations

from pathlib import Path

import click

from cli.database import with_books
from cli.output import common_options, print_json, print_table
from common.drop_contracts import CustomerErased, CustomerErasure

_MEANINGS = {
    "erased": "nothing personal is left",
    "reduced": "address, e-mail and metadata are gone; the id goes with the drop's last order, or its end",
    "open": "not decided yet, all of it is needed: run this again when they are",
    "unshipped": "confirmed, the address is needed: run this again with --shipped",
}


@click.group()
def customer() -> None:
    """Forget customers."""


@customer.command()
@click.argument("customer_id")
@click.option("--shipped", is_flag=True, help="All that the customer bought was shipped: addresses aren't needed.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@common_options
def erase(customer_id: str, shipped: bool, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Erase what is known of one customer, in all drops.

    E-mail, address, metadata and the customer's id are taken out of orders, limits and rejected messages; amounts,
    units and idempotency keys stay, so books and replays are as before. It can't be undone.

    \b
    What stays, and until when:
      orders that are not decided   all of it, until they are
      confirmed orders              all of it, until you say --shipped
      other orders                  the id: while one of the above is in the
                                    same drop; and if that has a limit per
                                    customer, until it ends

    Run it again then. MERCHDROP_RETENTION_DAYS after a drop's end, reconcile erases what is left.
    """
    if not yes:
        click.confirm(f"Erase customer {customer_id!r} from all drops, for good?", abort=True, err=True)
    wanted: CustomerErasure = {"customer_id": customer_id, "shipped": shipped}
    found: CustomerErased = with_books(data_dir, lambda books: books.call("erase_customer", wanted))
    if as_json:
        print_json(found)
    elif not any(found.values()):
        click.echo("No order and no message names this customer.")
    else:
        counts = {"erased": found["erased"], "reduced": found["reduced"], "open": found["open"]}
        counts["unshipped"] = found["unshipped"]
        print_table(
            ("orders", "count", ""), [(name, count, _MEANINGS[name]) for name, count in counts.items() if count]
        )
        if found["messages"]:
            click.echo(f"{found['messages']} rejected message(s) that named the customer were emptied.")
