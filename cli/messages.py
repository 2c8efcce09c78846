"""`merchdrop messages …`: messages that could not be processed; look at them, have them tried again, drop them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.database import Books, with_books
from cli.output import common_options, moment, print_fields, print_json, print_table
from common.event_contracts import DroppedCount, MessageRef, RetryOutcome

LISTED_MAX = 1_000  # whoever has more has one cause
_COLUMNS = "id, topic, reason, rejected_at, retry_at, bytes"

_ids_argument = click.argument("ids", nargs=-1, required=True, metavar="IDS")


@click.group()
def messages() -> None:
    """Look after messages that could not be processed.

    They were acknowledged, and are kept with the reason: malformed, drop_not_found, conflict (its key belongs to
    another order), differs_from_row (its order is stored, and is another one), not_taken (the database refuses what it
    holds).
    """


@messages.command("list")
@click.option("--body", is_flag=True, help="Show the messages themselves; they hold personal data.")
@common_options
def list_messages(body: bool, data_dir: Path, as_json: bool) -> None:
    """List rejected messages, the newest first."""
    query = f"SELECT {_COLUMNS}{', body' if body else ''} FROM shown_messages ORDER BY rejected_at DESC, id LIMIT $1"
    found = with_books(data_dir, lambda books: books.rows(query, LISTED_MAX))
    if as_json:
        print_json(found)
    elif not found:
        click.echo("There are no rejected messages.")
    elif body:
        for message in found:
            print_fields({**_for_people(message), "body": message["body"]})
            click.echo()
    else:
        rows = [list(_for_people(message).values()) for message in found]
        print_table(("message", "topic", "reason", "rejected (UTC)", "bytes", "to be retried since"), rows)
    if len(found) == LISTED_MAX:
        click.echo(f"These are the newest {LISTED_MAX}; there may be more.", err=True)


@messages.command()
@_ids_argument
@common_options
def retry(ids: tuple[str, ...], data_dir: Path, as_json: bool) -> None:
    """Have messages tried again, as if they were published now.

    For what can succeed by now: the drop exists, a secret was added, an error was mended. Reconcile does it within a
    minute. Whatever succeeds disappears from the list; the rest stays there, with the reason. It is safe to repeat.
    """
    outcomes: list[RetryOutcome] = with_books(data_dir, lambda books: books.call("retry_messages", _refs(ids)))
    asked = [one["id"] for one in outcomes if one["outcome"] == "asked"]
    if as_json:
        print_json(outcomes)
    elif asked:
        click.echo(f"{_count(asked)} to be tried again by reconcile; see `merchdrop messages list` in a minute")
    if erased := [one["id"] for one in outcomes if one["outcome"] == "erased"]:
        click.echo(f"Error: nothing is left of {', '.join(erased)} to be tried again", err=True)
    if unknown := [one["id"] for one in outcomes if one["outcome"] == "unknown_message"]:
        click.echo(f"Error: there is no message {', '.join(unknown)}; see `merchdrop messages list`", err=True)
    if len(asked) < len(outcomes):
        raise SystemExit(1)


@messages.command()
@_ids_argument
@click.option("--yes", is_flag=True, help="Don't ask.")
@common_options
def drop(ids: tuple[str, ...], yes: bool, data_dir: Path, as_json: bool) -> None:
    """Delete messages for good; those that are not there are left out."""
    if not yes:
        click.confirm(f"Delete {_count(ids)} for good?", abort=True, err=True)

    async def delete(books: Books) -> DroppedCount:
        dropped: DroppedCount = await books.call("drop_messages", _refs(ids))
        return dropped

    dropped = with_books(data_dir, delete)
    if as_json:
        print_json(dropped)
    else:
        click.echo(f"{dropped['dropped']} of {_count(ids)} deleted")


def _refs(ids: tuple[str, ...]) -> list[MessageRef]:
    return [{"id": one} for one in dict.fromkeys(ids)]


def _count(ids: tuple[str, ...] | list[str]) -> str:
    return f"{len(set(ids))} message{'' if len(set(ids)) == 1 else 's'}"


def _for_people(message: dict[str, Any]) -> dict[str, object]:
    return {
        "message": message["id"],
        "topic": message["topic"],
        "reason": message["reason"],
        "rejected": moment(message["rejected_at"]),
        "bytes": message["bytes"],
        "retry": moment(message["retry_at"]) if message["retry_at"] else None,
    }
