"""`serve` as processes: the event loop, signals, and what each ends with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import uvloop

from ghostwire.server import switching
from ghostwire.server.clock import system_clock
from ghostwire.server.observer import Observer
from ghostwire.server.options import ServeOptions
from ghostwire.server.port import World
from ghostwire.server.server import Server
from ghostwire.server.workers.supervisor import HAND_OVER, Word, speak
from ghostwire.server.workers.takeover import Door, Estate
from ghostwire.server.workers.worker import Worker

DONE: Final = 0
FAILED: Final = 1
COLLECT: Final = (50_000, 20, 50)
"""The collector's thresholds: nearly all that a server keeps is no garbage, and each full look stops the loop."""
Ready = Callable[[Server], Awaitable[None]]
"""Called once the server listens."""


class Service(Protocol):
    """What a process runs. `has_heir` is set before it is stopped where another server takes its place."""

    has_heir: bool

    async def start(self) -> None:
        """Begin; nothing is left behind where that fails."""

    async def stop(self) -> None:
        """End gracefully."""


Stands = Callable[[asyncio.Event], Awaitable[None]]
"""Called once a service has started, with what ends it when set."""


def run(
    options: ServeOptions, observer: Observer | None = None, ready: Ready | None = None, estate: Estate | None = None
) -> int:
    """Serve until SIGTERM or SIGINT (0), or until the store has failed (1).

    A second signal ends the process at once. `estate` is what a running server hands over, whose place this one takes.
    Raises `GhostwireError` where the server can't start.
    """

    async def serve() -> int:
        server = Server(options, observer, listening=estate.sockets if estate is not None else None)
        doors: list[Door] = []

        async def stands(told: asyncio.Event) -> None:
            if estate is not None:
                estate.stand()
            doors.append(Door(options.data, server.naming.listen, server.listening, told.set))
            await _server_stands(server, told, ready)

        await _serve(server, stands)
        for door in doors:
            door.release()
        return _outcome(server)

    if estate is not None:
        options = replace(options, listen=str(estate.listen))
        estate.await_release()
    return _run(serve)


def run_leader(
    options: ServeOptions, channel: socket.socket, observer: Observer | None = None, ready: Ready | None = None
) -> int:
    """Lead workers, also until the supervisor at the other end of `channel` is gone. Otherwise as `run`."""

    async def serve() -> int:
        server = Server(options, observer, listening=())

        async def stands(told: asyncio.Event) -> None:
            _heed(channel, server, told)
            channel.setblocking(False)
            _stay_heard(channel)
            await _server_stands(server, told, ready)

        await _serve(server, stands, supervised=True)
        return _outcome(server)

    return _run(serve)


def run_worker(
    options: ServeOptions, listening: Sequence[socket.socket], channel: socket.socket, observer: Observer
) -> int:
    """Take connections on these sockets until a signal says, or the supervisor at the other end of `channel`."""

    async def serve() -> int:
        worker = Worker(options, listening, World(system_clock, os.urandom, observer))
        worker.on_listen = lambda: speak(channel, Word(ready=True))

        async def stands(told: asyncio.Event) -> None:
            _heed(channel, worker, told)

        await _serve(worker, stands, supervised=True)
        return DONE

    return _run(serve)


def raise_file_limit() -> None:
    """Each session is a descriptor: take as many as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # an unlimited hard limit may not be a possible soft one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run(serve: Callable[[], Coroutine[Any, Any, int]]) -> int:
    raise_file_limit()
    switching.hurry()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


async def _server_stands(server: Server, told: asyncio.Event, ready: Ready | None) -> None:
    if ready is not None:
        await ready(server)
    server.failed.add_done_callback(lambda _: told.set())


def _outcome(server: Server) -> int:
    return FAILED if server.failed.done() else DONE


async def _serve(service: Service, stands: Stands, *, supervised: bool = False) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def signalled(name: str) -> None:
        # A terminal and a service manager signal each process of a group, and then the supervisor does, too.
        if told.is_set() and not supervised:
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


def _stay_heard(channel: socket.socket) -> None:
    """Say that this process is ready, now and every second."""
    speak(channel, Word(ready=True))
    asyncio.get_running_loop().call_later(1.0, _stay_heard, channel)


def _heed(channel: socket.socket, service: Service, told: asyncio.Event) -> None:
    """End when the supervisor at the other end says so, or is gone."""
    loop = asyncio.get_running_loop()

    def heard() -> None:
        loop.remove_reader(channel)
        told.set()
        with contextlib.suppress(OSError):  # it is gone, and has not read all that it was told
            service.has_heir = channel.recv(len(HAND_OVER)) == HAND_OVER

    loop.add_reader(channel, heard)
