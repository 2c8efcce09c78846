"""The operator's command, `merchdrop`."""

from __future__ import annotations

from typing import Any

import click

from cli.books import audit
from cli.customers import customer
from cli.drops import drop
from cli.messages import messages
from cli.migrate import migrate
from cli.orders import order
from cli.package import package
from cli.payments import payments
from cli.report import report
from cli.resume import resume
from cli.sale import sale
from cli.up import local, up
from common.settings import SettingsError
from local.machine import LocalError


class _Merchdrop(click.Group):
    """Shows what is in the way on this machine, or in its settings, as any error: no traceback, exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (LocalError, SettingsError) as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:  # no file's: a closed pipe is click's own business
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error


@click.group(cls=_Merchdrop, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run limited drops: make one, watch it sell, check its books.

    Commands find the database by MERCHDROP_DATABASE_URL, or in Cloud SQL by MERCHDROP_CLOUD_SQL_INSTANCE and
    MERCHDROP_DATABASE_USER, or by --data-dir of an engine that runs on this machine. MERCHDROP_DATABASE_URL and
    MERCHDROP_STRIPE_API_KEY may be in Secret Manager: sm://projects/PROJECT/secrets/NAME/versions/NUMBER.

    Exit status: 0 all is well, 1 it failed or a promise is broken, 2 it was called wrongly, 3 it is under way, and
    reconcile ends it.
    """


for command in (up, local, migrate, drop, order, payments, messages, audit, customer, sale, package):
    main.add_command(command)
for command in (resume, report):
    drop.add_command(command)
