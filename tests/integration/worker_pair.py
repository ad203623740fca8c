"""A leader and a worker in one process, and what carries the bytes between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ghostwire.coordinator.settings import Settings
from ghostwire.server import ServeOptions, Server
from ghostwire.server.clock import Clock, system_clock
from ghostwire.server.listen import local, public
from ghostwire.server.listen.endpoint import Endpoint
from ghostwire.server.port import World
from ghostwire.server.workers import relay, stations
from ghostwire.server.workers.worker import Worker
from ghostwire.wire.messages import HeartbeatAck
from tests.api.operators import call
from tests.integration.node_client import NodeClient, credentials
from tests.integration.recorder import Recorder


class Between:
    """What carries the bytes of the feed, and what it does to them."""

    def __init__(self, near: Path, far: Path) -> None:
        self._near, self._far = near, far
        self.delay_s = 0.0
        self.piece = 65536
        self.drop_after: int | None = None
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.refuses = False

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=local.bind(self._near, stations.SOCKET))

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        self.connections += 1
        there, far = await asyncio.open_unix_connection(str(self._far / stations.SOCKET))
        self._writers += [writer, far]
        for source, target in ((reader, far), (there, writer)):
            task = asyncio.get_running_loop().create_task(self._carry(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(self.piece):
                await asyncio.sleep(self.delay_s)
                if self.drop_after is not None:
                    self.drop_after -= len(data)
                    if self.drop_after < 0:
                        target.write(data[: len(data) // 2])
                        self.drop_after = None
                        self.cut()
                        return
                target.write(data)
        target.close()


class Pair:
    def __init__(self, server: Server, worker: Worker, between: Between) -> None:
        self.server, self.worker, self.between = server, worker, between
        self.url = f"http://{worker.naming.listen}"

    async def join(self, name: str) -> NodeClient:
        key = await call(self.server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        node = NodeClient(self.url, credentials(name, key["key"]))
        await node.__aenter__()
        await node.joined()
        return node


@asynccontextmanager
async def paired(room: Path, vfs: str | None = None, clock: Clock = system_clock) -> AsyncIterator[Pair]:
    """Both of them, up and attached to each other; `vfs` is the leader's."""
    near = room / "near"
    near.mkdir(mode=0o700)
    listening = public.bind(Endpoint("127.0.0.1", 0))
    endpoint = public.bound(listening, Endpoint("127.0.0.1", 0))
    options = ServeOptions(data=room / "far", settings=Settings(), listen=str(endpoint), tls_off=True)
    recorder = Recorder()
    async with Server(options, recorder, clock=clock, vfs=vfs, listening=()) as server:
        between = Between(near, options.data)
        await between.start()
        (near / relay.SOCKET).symlink_to(options.data / relay.SOCKET)
        worker = Worker(replace(options, data=near), [listening], World(clock, os.urandom, recorder))
        await worker.start()
        await asyncio.wait_for(worker.remote.replication.stands.wait(), 10)
        yield Pair(server, worker, between)
        await worker.stop()
        server.has_heir = True
        await between.stop()


async def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - there is no event for most of it
            await asyncio.sleep(0.01)


async def alive(node: NodeClient) -> None:
    node.session.heartbeat(None)
    await node.flush()
    await node.until(HeartbeatAck)
