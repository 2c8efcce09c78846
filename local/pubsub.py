"""A small Pub/Sub emulator: the gRPC API google.pubsub.v1 over the delivery rules that the engine relies on.

python -m local.pubsub --port 8085 [--journal FILE] [--faults FAULTS]
"""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path

import click
import grpc
import uvloop

from local.pubsub_faults import Faults
from local.pubsub_limits import CALL_BYTES_MAX, CALLS_MAX, STOP_SECONDS
from local.pubsub_server import Service, handlers
from local.pubsub_store import Store

# Messages come by the hundred thousand and are never in a cycle: looking for garbage among them that often is in vain.
GC_THRESHOLD = 100_000


async def serve(host: str, port: int, journal: Path | None, faults: Faults) -> None:
    """Run until SIGTERM or SIGINT."""
    gc.set_threshold(GC_THRESHOLD)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", CALL_BYTES_MAX), ("grpc.so_reuseport", 0)],
        maximum_concurrent_rpcs=CALLS_MAX,
    )
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise click.ClickException(f"cannot listen on {host}:{port}; use another --port.") from None
    # Only now: where another emulator listens, the journal may be that one's.
    service = Service(Store(journal), faults)
    server.add_generic_rpc_handlers(handlers(service))
    await server.start()
    await stop.wait()
    await server.stop(STOP_SECONDS)
    service.close()


def _faults(_context: click.Context, _parameter: click.Parameter, text: str) -> Faults:
    try:
        return Faults.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--journal", type=click.Path(path_type=Path), help="Where topics and messages outlive the process.")
@click.option(
    "--faults",
    default="",
    callback=_faults,
    help="For example seed=7,duplicate=0.3,delay=2,reorder=0.3,drop_ack=0.1,refuse=0.1.",
)
def main(host: str, port: int, journal: Path | None, faults: Faults) -> None:
    """Run the emulator."""
    uvloop.run(serve(host, port, journal, faults))


if __name__ == "__main__":
    main()
