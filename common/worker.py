"""What a worker process does once, on its first request: after the fork, when it is known that it will serve."""

from __future__ import annotations

import gc

from common.logs import configure_logging

# Requests make and drop many objects, hardly any in cycles. With Python's 700 the collector took a fifth of a worker's
# time; at this number it runs some times a second under full load, over a few megabytes.
_COLLECT_AFTER_OBJECTS = 20_000


def start_worker() -> None:
    """Set up logging, and keep the garbage collector off what was imported: that stays for ever."""
    configure_logging()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS)
