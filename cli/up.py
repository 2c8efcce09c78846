"""`merchdrop up` and `merchdrop local stop|start`: the engine on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import click

from cli.output import data_dir_option, json_option, print_json
from local.data_dir import DataDir

INSTANCES_MAX = 16  # each takes a few database connections, of which the local server has 200
STOP_SECONDS = 30.0
START_SECONDS = 90.0
POLL_SECONDS = 0.05

_data_dir = data_dir_option("Where the engine keeps everything.")


@click.command()
@click.option("--port", type=click.IntRange(1, 65_535), default=8080, show_default=True, help="Checkout's port.")
@_data_dir
@click.option(
    "--pubsub",
    type=click.Choice(["embedded", "google"]),
    default="embedded",
    show_default=True,
    help="The queue: our own emulator, or Google's (needs Java and the gcloud SDK's emulator; killed, it forgets its"
    " messages, and reconcile publishes waiting orders again).",
)
@click.option(
    "--pubsub-faults",
    metavar="FAULTS",
    help="What goes wrong in the embedded queue, drawn from seed: the shares duplicate, reorder, drop_ack and refuse"
    " (Publish calls answered UNAVAILABLE), and delay in seconds. For example seed=7,duplicate=0.3,delay=2,refuse=0.1.",
)
@click.option(
    "--stripe-faults",
    metavar="FAULTS",
    help="What goes wrong at the stand-in for Stripe, as shares drawn from seed: timeout_before, timeout_after,"
    " error_500_before, error_500_after, rate_limit, lock_timeout, decline, webhook_loss, webhook_duplicate,"
    " webhook_reorder; slow and webhook_delay in seconds. For example seed=7,timeout_after=0.1,webhook_loss=0.5.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, INSTANCES_MAX),
    default=1,
    show_default=True,
    help="Worker processes of each function.",
)
@click.option("--sample-drop/--no-sample-drop", default=True, show_default=True, help="Put a sample drop on sale.")
@json_option
def up(
    port: int,
    data_dir: Path,
    pubsub: str,
    pubsub_faults: str | None,
    stripe_faults: str | None,
    instances: int,
    sample_drop: bool,
    as_json: bool,
) -> None:
    """Run the whole engine on this machine, until Ctrl-C.

    A line that starts with `ready` tells when it serves; with --json, every line is a JSON document, and that one holds
    "ready": true.
    """
    try:
        from local.pubsub_faults import Faults
        from local.stripe_faults import Faults as StripeFaults
        from local.supervisor import Options, run
        from local.terminal import Terminal
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the engine is not here ({error.name} is missing): it runs from a checkout, after `make install`"
        ) from error

    if pubsub_faults and pubsub != "embedded":
        raise click.UsageError("--pubsub-faults needs --pubsub embedded: Google's emulator makes none")
    for parse, text, option in (
        (Faults.parse, pubsub_faults, "--pubsub-faults"),
        (StripeFaults.parse, stripe_faults, "--stripe-faults"),
    ):
        try:
            parse(text or "")
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from error
    log_format = "text" if sys.stdout.isatty() else "json"
    terminal = Terminal("json" if as_json else os.environ.get("MERCHDROP_LOG_FORMAT") or log_format)
    options = Options(port, data_dir, pubsub, pubsub_faults, stripe_faults, instances, sample_drop, as_json)
    try:
        asyncio.run(run(options, terminal))
    finally:
        terminal.close()


@click.group()
def local() -> None:
    """Take parts of the engine on this machine down, and up again."""


@local.command()
@click.argument("name")
@_data_dir
@json_option
def stop(name: str, data_dir: Path, as_json: bool) -> None:
    """Take the part NAME down, and keep it down until `local start NAME`."""
    directory = _running(data_dir, name)
    directory.stop(name)
    _wait(directory, name, "stopped", STOP_SECONDS)
    _report(name, "stopped", as_json)


@local.command()
@click.argument("name")
@_data_dir
@json_option
def start(name: str, data_dir: Path, as_json: bool) -> None:
    """Start the part NAME again, and wait until it serves."""
    directory = _running(data_dir, name)
    directory.start(name)
    _wait(directory, name, "running", START_SECONDS)
    _report(name, "running", as_json)


def _running(data_dir: Path, name: str) -> DataDir:
    """The directory of a running engine that has such a part."""
    directory = DataDir(data_dir)
    if not directory.is_locked():
        raise click.ClickException(f"no engine runs on {directory.path}; start one with `merchdrop up`")
    names = sorted(directory.record())
    if name not in names:
        raise click.ClickException(f"there is no part {name}; the parts are {', '.join(names)}")
    return directory


def _report(name: str, state: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "state": state})
    else:
        click.echo(f"{name} is {state}")


def _wait(directory: DataDir, name: str, state: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while directory.record().get(name, {}).get("state") != state:
        if not directory.is_locked():
            raise click.ClickException("the engine was stopped meanwhile")
        if time.monotonic() > deadline:
            raise click.ClickException(f"{name} is not {state} after {seconds:.0f} s; the engine's output says why")
        time.sleep(POLL_SECONDS)
