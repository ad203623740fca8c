"""A whole server on an event loop of its own thread, for tools that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ghostwire.server import Observer, ServeOptions, Server


@contextmanager
def running(options: ServeOptions, observer: Observer) -> Iterator[tuple[Server, asyncio.AbstractEventLoop]]:
    """Run a server until the block ends."""
    ready: threading.Event = threading.Event()
    found: list[Any] = []

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            async with Server(options, observer) as server:
                found.extend([server, asyncio.get_running_loop(), stop])
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    server, loop, stop = found
    try:
        yield server, loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
