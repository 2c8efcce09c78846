"""`merchdrop drop resume`: go on with a paused drop, whose books agree or whose violations somebody answers for."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import click

from cli.books import LISTED_MAX
from cli.database import Books, with_books
from cli.drops import print_change
from cli.output import common_options, print_json
from common.drop_contracts import Acceptance, AcceptedCount, StateChange, StateChanged

REASON_LENGTH_MAX = 1_000  # as the table has it
_OPEN = f"SELECT violation FROM judged_violations WHERE drop_id = $1 AND accepted_at IS NULL LIMIT {LISTED_MAX}"


@click.command()
@click.argument("drop_id")
@click.option(
    "--force", is_flag=True, help="Accept the violations that its audit finds now. They don't pause it again."
)
@click.option("--reason", metavar="TEXT", help="Why they may be accepted; kept with the time, and who you are.")
@common_options
def resume(drop_id: str, force: bool, reason: str | None, data_dir: Path, as_json: bool) -> None:
    """Go on with a paused drop.

    The audit pauses a drop whose books don't agree. It goes on when they do again, or with --force and --reason; a
    violation that comes later pauses it again. An ended drop stays ended, but its violations can be accepted too.
    """
    if force == (reason is None):
        raise click.UsageError("--force and --reason go together: whoever accepts broken promises says why")
    if reason is not None and not (reason.strip() and len(reason) <= REASON_LENGTH_MAX):
        raise click.BadParameter(f"1 to {REASON_LENGTH_MAX} characters are expected", param_hint="--reason")

    async def work(books: Books) -> tuple[int, StateChanged]:
        accepted = await _accept(books, drop_id, reason) if reason else await _refuse_open(books, drop_id)
        wanted: StateChange = {"drop_id": drop_id, "state": "live", "from_states": ["paused"]}
        result: StateChanged = await books.call("set_drop_state", wanted)
        return accepted, result

    accepted, result = with_books(data_dir, work)
    if force and not as_json:
        click.echo(
            f"{accepted} violation{'' if accepted == 1 else 's'} accepted; `merchdrop audit {drop_id}` lists them"
        )
    if force and result["state"] == "ended":
        _print_ended(drop_id, as_json)
    else:
        print_change(drop_id, "live", result, as_json)


async def _accept(books: Books, drop_id: str, reason: str) -> int:
    wanted: Acceptance = {"drop_id": drop_id, "reason": reason, "os_user": _os_user()}
    count: AcceptedCount = await books.call("accept_violations", wanted)
    return count["accepted"]


async def _refuse_open(books: Books, drop_id: str) -> int:
    if found := await books.rows(_OPEN, drop_id):
        at_least = " or more" if len(found) == LISTED_MAX else ""
        raise click.ClickException(
            f"drop {drop_id!r} is not resumed: its books have {len(found)}{at_least} violation(s) that nobody has"
            f" accepted, and it would be paused again. Look at them with `merchdrop audit {drop_id}`; then mend the"
            f" books, or accept them: `merchdrop drop resume {drop_id} --force --reason TEXT`"
        )
    return 0


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user has no name
        return f"uid {os.getuid()}"


def _print_ended(drop_id: str, as_json: bool) -> None:
    if as_json:
        print_json({"drop_id": drop_id, "state": "ended", "was": "ended"})
    else:
        click.echo(f"{drop_id} has ended, and stays so")
