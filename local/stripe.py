"""A stand-in for Stripe on one machine: PaymentIntents, refunds and webhooks, as far as the engine uses them.

python -m local.stripe --port 8086 [--journal FILE] [--webhook-url URL --webhook-secret whsec_…]
                       [--faults seed=7,timeout_after=0.1,error_500_after=0.05,decline=0.1,webhook_duplicate=0.3]
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import click
import uvloop
from aiohttp import web

from local.machine import HOST
from local.stripe_api import Api
from local.stripe_control import Control, refusals
from local.stripe_faults import Fate, Faults
from local.stripe_http import BODY_BYTES_MAX
from local.stripe_journal import JournalError
from local.stripe_rates import ENDPOINT_RATE, TOTAL_RATE, Rates
from local.stripe_server import Server, unknown
from local.stripe_store import Store
from local.stripe_webhooks import Webhooks

STOP_SECONDS = 1.0  # for calls under way


async def serve(port: int, store: Store, faults: Faults, rates: Rates, webhook: tuple[str, str] | None) -> None:
    """Run until SIGTERM or SIGINT; `webhook` is where events go, and the secret that signs them."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    fate = Fate(faults)
    runner = web.AppRunner(_app(store, fate, rates), access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        webhooks = Webhooks(store, http, *webhook, lambda: fate.faults) if webhook else None
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError:
            raise click.ClickException(f"cannot listen on {HOST}:{port}; use another --port.") from None
        await stop.wait()
        if webhooks:
            webhooks.close()
    await runner.cleanup()


def _app(store: Store, fate: Fate, rates: Rates) -> web.Application:
    app, server = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[refusals]), Server(store, fate, rates)
    app.router.add_routes(Control(store, fate).routes())
    for endpoint in Api(store).endpoints():
        app.router.add_route(endpoint.method, endpoint.path, server.handler(endpoint))
    app.router.add_route("*", "/{path:.*}", unknown)
    return app


def _faults(_context: click.Context, _parameter: click.Parameter, text: str) -> Faults:
    try:
        return Faults.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--journal", type=click.Path(path_type=Path), help="Where payments and answers outlive the process.")
@click.option("--webhook-url", help="Where events are posted to.")
@click.option("--webhook-secret", help="What signs them: whsec_ and anything.")
@click.option("--faults", default="", callback=_faults, help="For example seed=7,timeout_after=0.1,decline=0.2.")
@click.option(
    "--endpoint-rate",
    type=click.IntRange(0),
    default=ENDPOINT_RATE,
    show_default=True,
    help="Requests a second for each endpoint; 0: no limit.",
)
@click.option(
    "--total-rate",
    type=click.IntRange(0),
    default=TOTAL_RATE,
    show_default=True,
    help="Requests a second for all endpoints; 0: no limit.",
)
def main(
    port: int,
    journal: Path | None,
    webhook_url: str | None,
    webhook_secret: str | None,
    faults: Faults,
    endpoint_rate: int,
    total_rate: int,
) -> None:
    """Run the stand-in on 127.0.0.1."""
    if bool(webhook_url) != bool(webhook_secret):
        raise click.UsageError("--webhook-url and --webhook-secret go together.")
    if webhook_url and not webhook_url.startswith(("http://", "https://")):
        raise click.UsageError(f"--webhook-url is {webhook_url}; it must begin with http:// or https://.")
    webhook = (webhook_url, webhook_secret) if webhook_url and webhook_secret else None
    try:
        store = Store(journal)
    except JournalError as error:
        raise click.ClickException(str(error)) from None
    uvloop.run(serve(port, store, faults, Rates(endpoint_rate, total_rate), webhook))


if __name__ == "__main__":
    main()
