"""A small Pub/Sub emulator: the gRPC API google.pubsub.v1 over the delivery rules that the engine relies on.

python -m local.pubsub --port 8085 [--journal FILE] [--faults seed=7,duplicate=0.3,delay=2,reorder=0.2,drop_ack=0.1]
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import click
import grpc
import uvloop

from local.pubsub_delivery import PUSHES_MAX, Faults
from local.pubsub_server import Service, handlers
from local.pubsub_store import Store

CALL_BYTES_MAX = 20_000_000  # more than a full Publish call
STOP_SECONDS = 1.0  # for calls under way


async def serve(host: str, port: int, journal: Path | None, faults: Faults) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connector = aiohttp.TCPConnector(limit=PUSHES_MAX)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", CALL_BYTES_MAX), ("grpc.so_reuseport", 0)]
        )
        server.add_generic_rpc_handlers(handlers(Service(Store(journal), http, faults)))
        try:
            server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            raise click.ClickException(f"cannot listen on {host}:{port}; use another --port.") from None
        await server.start()
        await stop.wait()
        await server.stop(STOP_SECONDS)


def _faults(_context: click.Context, _parameter: click.Parameter, text: str) -> Faults:
    try:
        return Faults.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--journal", type=click.Path(path_type=Path), help="Where topics and messages outlive the process.")
@click.option("--faults", default="", callback=_faults, help="For example seed=7,duplicate=0.3,delay=2,drop_ack=0.1.")
def main(host: str, port: int, journal: Path | None, faults: Faults) -> None:
    """Run the emulator."""
    uvloop.run(serve(host, port, journal, faults))


if __name__ == "__main__":
    main()
