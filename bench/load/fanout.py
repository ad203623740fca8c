"""One message to thousands of sessions: `python -m bench.load.fanout [SESSIONS]`.

Three servers in processes of their own, one after the other with the same clients: `ours` is a real server's fan-out to
real node sessions, `raw` a loop of uvloop's `transport.write`, `websockets` that package's `broadcast`. Each round is
over, for the server, when it has handed the message to the last connection; the next begins when all clients have read
it. What counts is the server's CPU, since clients take the rest of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, cast

import uvloop
from pyroaring import BitMap
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets
from websockets.typing import Subprotocol

from ghostwire.coordinator.effects import Push
from ghostwire.coordinator.settings import Settings
from ghostwire.server import Limits, ServeOptions, Server
from ghostwire.server.process import raise_file_limit
from ghostwire.testing.load.bare import UPGRADE
from ghostwire.testing.load.link import upgrade_request
from ghostwire.wire.messages import SUBPROTOCOL

HOST: Final = "127.0.0.1"
KINDS: Final = ("ours", "raw", "websockets")
MESSAGE: Final = bytes(350)
"""As long as a delta that says where one peer is."""
FRAMED: Final = b"\x82\x7e" + len(MESSAGE).to_bytes(2, "big") + MESSAGE
ROUNDS: Final = 20
LIMITS: Final = Limits(handshakes=20_000, handshakes_per_address=20_000, unproved_s=600.0)
CONNECTIONS_AN_ADDRESS: Final = 5000
Send = Callable[[], Awaitable[None]]
"""Sends the message to everyone; done when it was handed to the last connection."""


class Raw(asyncio.Protocol):
    """A connection that was upgraded, whoever asks."""

    everyone: Final[list[asyncio.Transport]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _data: bytes) -> None:
        self._transport.write(UPGRADE)
        self.everyone.append(self._transport)


async def raw() -> None:
    server = await asyncio.get_running_loop().create_server(Raw, HOST, 0, backlog=4096)

    async def send() -> None:
        for transport in Raw.everyone:
            transport.write(FRAMED)

    await serve(server.sockets[0].getsockname()[1], send, lambda: len(Raw.everyone))


async def websockets() -> None:
    everyone: set[ServerConnection] = set()

    async def keep(connection: ServerConnection) -> None:
        everyone.add(connection)
        await connection.wait_closed()

    async def send() -> None:
        broadcast(everyone, MESSAGE)

    server = await serve_websockets(
        keep,
        HOST,
        0,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        ping_interval=None,
        open_timeout=None,
        backlog=4096,
    )
    await serve(next(iter(server.sockets)).getsockname()[1], send, lambda: len(everyone))


async def ours() -> None:
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as folder:
        options = ServeOptions(
            data=Path(folder) / "server", settings=Settings(), listen=f"{HOST}:0", tls_off=True, limits=LIMITS
        )
        async with Server(options) as server:
            assert server.public is not None
            sessions, fanout = server.public.sessions.standing, server._fanout
            slots = BitMap()

            async def send() -> None:
                for slot, session in enumerate(sessions if not slots else ()):
                    session.node = session.slot = session.session = slot
                    fanout.attach(session)
                    slots.add(slot)
                handed = asyncio.get_running_loop().create_future()
                fanout.push(Push(slots=slots, frame=MESSAGE))
                fanout.settled(lambda: handed.set_result(None))
                await handed

            await serve(server.port, send, lambda: len(sessions))


async def serve(port: int, send: Send, count: Callable[[], int]) -> None:
    """Say the port; for each line of the standard input send, and say what that took and who was connected."""
    print(json.dumps({"port": port}), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        connected = count()
        began, used = time.perf_counter(), time.process_time()
        if connected:
            await send()
        taken = {"cpu_s": time.process_time() - used, "seconds": time.perf_counter() - began}
        print(json.dumps({"connected": connected, **taken}), flush=True)


class Readers:
    """Connections that were upgraded, and read whatever comes."""

    def __init__(self, port: int, count: int) -> None:
        self._poll = select.epoll()
        self._sockets = {}
        for number in range(count):
            connection = socket.create_connection(
                (HOST, port), source_address=(f"127.2.0.{1 + number // CONNECTIONS_AN_ADDRESS}", 0)
            )
            connection.sendall(upgrade_request(f"{HOST}:{port}"))
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)

    def read(self, total: int) -> None:
        """Read until so many bytes have come, or nothing more for a moment."""
        while total > 0 and (ready := self._poll.poll(2.0)):
            for number, _ in ready:
                total -= len(self._sockets[number].recv(1 << 16))

    def close(self) -> None:
        for connection in self._sockets.values():
            connection.close()


def measure(kind: str, sessions: int) -> dict[str, float]:
    """One server's fan-out: microseconds of its CPU and of time for each session, median of the rounds."""
    command = [sys.executable, "-m", "bench.load.fanout", "--serve", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        readers = Readers(json.loads(process.stdout.readline())["port"], sessions)
        readers.read(1 << 40)
        found = []
        for _ in range(ROUNDS):
            process.stdin.write("\n")
            process.stdin.flush()
            readers.read(sessions * len(FRAMED))
            said = json.loads(process.stdout.readline())
            if said["connected"] != sessions:
                raise SystemExit(f"{kind}: {said['connected']} of {sessions} connected")
            found.append(said)
        readers.close()
        process.stdin.close()
    return {
        "cpu_us": statistics.median(said["cpu_s"] for said in found[1:]) * 1e6 / sessions,
        "us": statistics.median(said["seconds"] for said in found[1:]) * 1e6 / sessions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", type=int, nargs="?", default=10_000)
    parser.add_argument("--serve", choices=KINDS)
    given = parser.parse_args()
    raise_file_limit()
    if given.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run({"ours": ours, "raw": raw, "websockets": websockets}[given.serve]())
        return
    found = {kind: measure(kind, given.sessions) for kind in KINDS}
    for kind, taken in found.items():
        rate = found["ours"]["cpu_us"] and taken["cpu_us"] / found["ours"]["cpu_us"]
        print(
            f"{kind:10} {taken['cpu_us']:6.2f} us of CPU a session, {taken['us']:6.2f} us; ours is {rate:.2f}x as fast"
        )


if __name__ == "__main__":
    main()
