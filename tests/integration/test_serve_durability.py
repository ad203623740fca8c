"""What an answer is worth: full disks, failed syncs, kills in mid-work, readers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET

import httpx
import msgspec
import pytest
import websockets

from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.state import State
from ghostwire.server import Limits, ServeOptions, Server
from ghostwire.server.store.replay import replay
from ghostwire.server.store.store import ServerStore
from ghostwire.testing.crash.faults import Fault, FaultVFS
from ghostwire.testing.processes import Child
from ghostwire.wire.messages import ServerBye
from tests.api.operators import call, local
from tests.integration.node_client import NodeClient, credentials
from tests.integration.recorder import Recorder

KILLS = int(os.environ.get("GHOSTWIRE_SERVE_KILLS", "3"))


@pytest.fixture
def options(tmp_path: Path) -> ServeOptions:
    return ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0", tls_off=True)


@pytest.fixture
def disk() -> Iterator[FaultVFS]:
    with FaultVFS() as disk:
        yield disk


async def names(server: Server) -> set[str]:
    return {user["name"] for user in (await call(server, "GET", "/v1/users"))["users"]}


async def create(client: httpx.AsyncClient, name: str) -> httpx.Response:
    return await client.post("/v1/users", json={"name": name})


async def equal_to_its_log(options: ServeOptions, server: Server | None = None) -> State:
    """The state on disk, folded from the log; fails if the tables say otherwise."""
    store = server.store if server is not None else await ServerStore.open(options, lambda error: None)
    snapshot = await store.load(lambda size: bytes(size))
    state = await replay(store.durable)
    assert State.load(snapshot.tables, snapshot.seq).tables == state.tables
    if server is None:
        await store.close()
    return state


async def test_a_full_disk_refuses_writes_clearly_and_reads_go_on(options: ServeOptions, disk: FaultVFS) -> None:
    async with Server(options, vfs=disk.name) as server, local(server) as client:
        assert (await create(client, "before")).status_code == 201
        disk.fault = Fault("full", at=1, calls=("write",), lasting=True)
        for attempt in range(3):
            refused = await create(client, f"during-{attempt}")
            assert refused.status_code == 429
            assert refused.json()["code"] == "resource_exhausted"
            assert "disk is full" in refused.json()["detail"]
        assert await names(server) == {"before"}
        disk.fault = None
        assert (await create(client, "after")).status_code == 201
        assert await names(server) == {"before", "after"}
        assert not server.failed.done()
        state = await equal_to_its_log(options, server)
        assert set(state.user_by_name) == {"before", "after"}


async def test_a_failed_sync_is_fatal_and_nothing_answered_is_lost(options: ServeOptions, disk: FaultVFS) -> None:
    recorder = Recorder()
    answered = []
    async with Server(options, recorder, vfs=disk.name) as server, local(server) as client:
        assert (await create(client, "before")).status_code == 201
        answered.append("before")
        disk.fault = Fault("error", at=1, calls=("sync",))
        assert (await create(client, "unknown")).status_code == 503
        assert server.failed.done()
        disk.fault = None
        assert (await create(client, "after")).status_code == 503
        assert (await client.get("/v1/health/ready")).status_code == 503
        assert (await client.get("/v1/health/live")).status_code == 200
        assert await names(server) == {"before"}
    assert ("critical", "store.failed") in [event[:2] for event in recorder.events]
    async with Server(options) as server:
        assert await names(server) >= set(answered)
        await equal_to_its_log(options, server)


class Serving:
    """A real `ghostwire serve`."""

    def __init__(self, options: ServeOptions, log: Path) -> None:
        self.socket = options.data / "admin.sock"
        arguments = ["serve", "--data", str(options.data), "--listen", "127.0.0.1:0", "--tls", "off"]
        self.child = Child.start(arguments, log)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20)

    async def ready(self) -> None:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                async with self.client() as client:
                    if (await client.get("/v1/health/ready")).status_code == 200:
                        return
            assert self.child.running, self.child.tail()
            await asyncio.sleep(0.05)
        raise AssertionError(self.child.tail())


@pytest.mark.integration
@pytest.mark.timeout(120 + 20 * KILLS)
async def test_kill_9_loses_nothing_that_was_answered(options: ServeOptions, tmp_path: Path) -> None:
    answered: set[str] = set()
    asked: set[str] = set()
    for turn in range(KILLS):
        serving = Serving(options, tmp_path / "serve.log")
        try:
            await serving.ready()

            enough = asyncio.Event()

            async def work(worker: int, turn: int, serving: Serving, enough: asyncio.Event) -> None:
                async with serving.client() as client:
                    for number in range(10_000):
                        name = f"u-{turn}-{worker}-{number}"
                        asked.add(name)
                        if (await create(client, name)).status_code == 201:
                            answered.add(name)
                        if number == 10 * (turn % 3 + 1):
                            enough.set()

            tasks = [asyncio.create_task(work(worker, turn, serving, enough)) for worker in range(8)]
            await asyncio.wait_for(enough.wait(), 60)
            serving.child.kill()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(ended, httpx.HTTPError), ended
        finally:
            serving.child.kill()
        state = await equal_to_its_log(options)
        assert answered <= set(state.user_by_name) <= asked
    assert len(answered) > 20 * KILLS


@pytest.mark.integration
async def test_sigterm_says_bye_writes_what_is_left_and_ends_with_0(options: ServeOptions, tmp_path: Path) -> None:
    serving = Serving(options, tmp_path / "serve.log")
    try:
        await serving.ready()
        async with serving.client() as client:
            key = (await client.post("/v1/preauth-keys", json={"user": "alice"})).json()
        async with NodeClient(key["server"], credentials("laptop", key["key"])) as node:
            await node.joined()
            node.session.endpoints(("192.0.2.1:51820",))
            node.session.heartbeat(None)
            await node.flush()
            await node.step()
            serving.child._process.terminate()
            assert (await node.until(ServerBye)).retry_after == 1.0
            with pytest.raises(websockets.ConnectionClosed):
                await node.step()
        assert await asyncio.to_thread(serving.child.wait, 20) == 0
    finally:
        serving.child.kill()
    assert not serving.socket.exists()
    store = await ServerStore.open(options, lambda error: None)
    snapshot = await store.load(lambda size: bytes(size))
    await store.close()
    assert [seen.endpoints for seen in snapshot.volatile] == [("192.0.2.1:51820",)]


@pytest.fixture
async def tight(options: ServeOptions) -> AsyncIterator[Server]:
    limits = Limits(unread_bytes=20_000, messages_burst=100_000)
    recorder = Recorder()
    # Each change is told by itself: gathered ones would hardly fill a buffer.
    settings = msgspec.structs.replace(options.settings, coalesce_s=0.0)
    tight = ServeOptions(data=options.data, settings=settings, listen="127.0.0.1:0", tls_off=True, limits=limits)
    async with Server(tight, recorder) as server:
        yield server
    assert recorder.faults == []


async def test_a_slow_reader_is_resynced_and_never_waited_for(tight: Server) -> None:
    key = await call(tight, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": None})
    busy = NodeClient(key["server"], credentials("busy", key["key"]))
    slow = NodeClient(key["server"], credentials("slow", key["key"]))
    async with busy, slow:
        await busy.joined()
        await slow.joined()
        await busy.until_peers("slow")
        # The slow one stops reading: its receive window fills (made small, or it would take megabytes), then buffers.
        live = {session.node: session for session in tight.driver.outlet.sessions()}[slow.netmap.own().id]
        for socket in (slow.socket.transport, live.transport._transport):
            for option in (SO_RCVBUF, SO_SNDBUF):
                socket.get_extra_info("socket").setsockopt(SOL_SOCKET, option, 4096)
        slow.socket.transport.pause_reading()
        turn = 0
        while tight.driver.outlet.skipped < 20:
            turn += 1
            assert turn < 2000
            many = tuple(f"192.0.2.{at}:{1024 + turn % 60000}" for at in range(32))
            busy.session.endpoints(many)
            number = busy.session.query()
            await busy.flush()
            while not any(getattr(event, "id", None) == number for event in busy.events):
                await busy.step()
            busy.events.clear()
        assert live.transport.waiting <= tight.options.limits.unread_bytes
        slow.socket.transport.resume_reading()
        wanted = (await call(tight, "GET", "/v1/nodes/slow/netmap"))["digest"]
        while slow.netmap.digest.hex() != wanted:
            await slow.step()
        assert tight.public.sessions.counters.resyncs == 1


async def test_metrics_have_the_names_that_dashboards_rely_on(options: ServeOptions) -> None:
    async with Server(options) as server, local(server) as client:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        async with NodeClient(key["server"], credentials("laptop", key["key"])) as node:
            await node.joined()
            node.session.heartbeat(None)
            await node.flush()
            await node.step()
        text = (await client.get("/metrics")).text
        for line in (
            "ghostwire_node_registrations_total 1.0",
            'ghostwire_heartbeats_total{result="ok"} 1.0',
            "ghostwire_netmap_build_seconds_count 1.0",
            'ghostwire_session_checks_total{result="minted"} 1.0',
            "ghostwire_zqlite_query_seconds_count",
            'ghostwire_zqlite_seconds_count{operation="commit"}',
            'ghostwire_zqlite_seconds_count{operation="query"}',
            'ghostwire_queue_depth{queue="commits"} 0.0',
        ):
            assert line in text
        document = json.dumps((await client.get("/v1/status")).json())
        assert key["key"] not in text + document
