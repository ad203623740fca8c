"""`serve` as processes: the event loop, signals, and what each ends with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

import uvloop

from ghostwire.server.clock import system_clock
from ghostwire.server.observer import Observer
from ghostwire.server.options import ServeOptions
from ghostwire.server.port import World
from ghostwire.server.server import Server
from ghostwire.server.workers.supervisor import Word, speak
from ghostwire.server.workers.worker import Worker

DONE: Final = 0
FAILED: Final = 1
COLLECT: Final = (50_000, 20, 50)
"""The collector's thresholds: nearly all that a server keeps is no garbage, and each full look stops the loop."""
SWITCH_S: Final = 0.00005
"""How long a thread may keep the interpreter while another waits. A read on the loop lets go of it several times, and
each time would wait for the writer's thread for the usual 5 ms."""
Ready = Callable[[Server], Awaitable[None]]
"""Called once the server listens."""


class Service(Protocol):
    """What a process runs."""

    async def start(self) -> None:
        """Begin; nothing is left behind where that fails."""

    async def stop(self) -> None:
        """End gracefully."""


Stands = Callable[[asyncio.Event], Awaitable[None]]
"""Called once a service has started, with what ends it when set."""


def run(options: ServeOptions, observer: Observer | None = None, ready: Ready | None = None) -> int:
    """Serve until SIGTERM or SIGINT (0), or until the store has failed (1).

    A second signal ends the process at once. Raises `GhostwireError` where the server can't start.
    """

    async def serve() -> int:
        server = Server(options, observer)
        return await _serve_store(server, ready)

    return _run(serve)


def run_leader(
    options: ServeOptions, channel: socket.socket, observer: Observer | None = None, ready: Ready | None = None
) -> int:
    """Lead workers, also until the supervisor at the other end of `channel` is gone. Otherwise as `run`."""

    async def serve() -> int:
        async def stands(server: Server) -> None:
            speak(channel, Word(ready=True))
            if ready is not None:
                await ready(server)

        return await _serve_store(Server(options, observer, leads=True), stands, channel)

    return _run(serve)


def run_worker(
    options: ServeOptions, listening: list[socket.socket], channel: socket.socket, observer: Observer
) -> int:
    """Take connections on these sockets until a signal says, or the supervisor at the other end is gone."""

    async def serve() -> int:
        async def stands(told: asyncio.Event) -> None:
            _end_with(channel, told)

        await _serve(Worker(options, listening, World(system_clock, os.urandom, observer)), stands)
        return DONE

    return _run(serve)


def raise_file_limit() -> None:
    """Each session is a descriptor: take as many as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # an unlimited hard limit may not be a possible soft one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run(serve: Callable[[], Coroutine[Any, Any, int]]) -> int:
    raise_file_limit()
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


async def _serve_store(server: Server, ready: Ready | None, channel: socket.socket | None = None) -> int:
    async def stands(told: asyncio.Event) -> None:
        if channel is not None:
            _end_with(channel, told)
        if ready is not None:
            await ready(server)
        server.failed.add_done_callback(lambda _: told.set())

    await _serve(server, stands)
    return FAILED if server.failed.done() else DONE


async def _serve(service: Service, stands: Stands) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def signalled(name: str) -> None:
        if told.is_set():
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            signal.raise_signal(signal.Signals[name])
        told.set()

    await service.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled, number.name)
    # What was loaded stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    try:
        await stands(told)
        await told.wait()
    finally:
        await service.stop()


def _end_with(channel: socket.socket, told: asyncio.Event) -> None:
    """End when the other end of the channel does, which nobody writes to."""
    asyncio.get_running_loop().add_reader(channel, told.set)
