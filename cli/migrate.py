"""`merchdrop migrate`: bring the database to a revision; downwards only when somebody means it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.database import Books, database_address, with_books
from cli.output import common_options, print_json
from migrations.run import BASE, MigrationError, downgrade, revisions, upgrade


@click.command()
@click.option("--to", "wanted", default="head", show_default=True, help="The revision to stop at; base is before all.")
@click.option("--yes", is_flag=True, help="Go down without asking, and delete what is in the tables.")
@common_options
def migrate(wanted: str, yes: bool, data_dir: Path, as_json: bool) -> None:
    """Bring the database up to date."""
    known = revisions()
    target = known[-1] if wanted == "head" else wanted
    if target not in known:
        raise click.BadParameter(
            f"there is no revision {wanted!r}; there are {', '.join(known)}, and head for the last", param_hint="--to"
        )
    found = with_books(data_dir, _look)
    if found["revision"] not in known:
        raise click.ClickException(
            f"the database is at revision {found['revision']}, which this release does not know;"
            " take the release that brought it there"
        )
    try:
        if known.index(target) < known.index(found["revision"]):
            if not yes and (found["drops"] or found["orders"]):
                _ask(found, target)
            downgrade(database_address(data_dir), target)
        else:
            upgrade(database_address(data_dir), target)
    except MigrationError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json({"revision": target, "was": found["revision"]})
    else:
        before = "already" if target == found["revision"] else f"(was {found['revision']})"
        click.echo(f"the database is at {target} {before}")


async def _look(books: Books) -> dict[str, Any]:
    """The revision, and how much there is to lose. A database before the first migration has none of the tables."""
    found: dict[str, Any] = {"revision": BASE, "drops": 0, "orders": 0}
    (tables,) = await books.rows("SELECT to_regclass('alembic_version') AS versions, to_regclass('orders') AS orders")
    if tables["versions"] and (versions := await books.rows("SELECT version_num FROM alembic_version")):
        found["revision"] = versions[0]["version_num"]
    if tables["orders"]:
        counts = "SELECT (SELECT count(*) FROM drops) AS drops, (SELECT count(*) FROM orders) AS orders"
        found |= (await books.rows(counts))[0]
    return found


def _ask(found: dict[str, Any], target: str) -> None:
    click.confirm(
        f"Going down from {found['revision']} to {target} deletes tables, and what is in them for good. The database"
        f" holds {found['drops']} drops and {found['orders']} orders. Go on? (--yes goes on without asking)",
        abort=True,
        err=True,  # standard output is for the answer
    )
