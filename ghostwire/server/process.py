"""`serve` as a process: the event loop, signals, and what the process ends with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from ghostwire.server.observer import Observer
from ghostwire.server.options import ServeOptions
from ghostwire.server.server import Server

DONE: Final = 0
FAILED: Final = 1
COLLECT: Final = (50_000, 20, 50)
"""The collector's thresholds: nearly all that a server keeps is no garbage, and each full look stops the loop."""
SWITCH_S: Final = 0.00005
"""How long a thread may keep the interpreter while another waits. A read on the loop lets go of it several times, and
each time would wait for the writer's thread for the usual 5 ms."""
Ready = Callable[[Server], Awaitable[None]]
"""Called once the server listens."""


def run(options: ServeOptions, observer: Observer | None = None, ready: Ready | None = None) -> int:
    """Serve until SIGTERM or SIGINT (0), or until the store has failed (1).

    A second signal ends the process at once. Raises `GhostwireError` where the server can't start.
    """
    raise_file_limit()
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(options, observer, ready))


def raise_file_limit() -> None:
    """Each session is a descriptor: take as many as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # an unlimited hard limit may not be a possible soft one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(options: ServeOptions, observer: Observer | None, ready: Ready | None) -> int:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def signalled(name: str) -> None:
        if told.is_set():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            signal.raise_signal(signal.Signals[name])
        told.set()

    server = Server(options, observer)
    await server.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled, number.name)
    # What was loaded stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    try:
        if ready is not None:
            await ready(server)
        server.failed.add_done_callback(lambda _: told.set())
        await told.wait()
    finally:
        await server.stop()
    return FAILED if server.failed.done() else DONE
