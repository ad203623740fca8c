"""Heads of the log go out with maps and come back: a server that was put back to an older copy is found out."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from pathlib import Path

import pytest

from ghostwire.coordinator.settings import Settings
from ghostwire.server import ServeOptions, Server
from ghostwire.wire.messages import HeartbeatAck, LogHead, Refusal
from ghostwire.zqlite import SignedHead
from tests.api.operators import call, local
from tests.integration.node_client import NodeClient, credentials
from tests.integration.recorder import Recorder

STORE = ("ghostwire.db", "history.db")


@pytest.fixture
def options(tmp_path: Path) -> ServeOptions:
    return ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0", tls_off=True)


async def head_of(node: NodeClient) -> LogHead:
    """The head that comes after the map."""
    while not node.heads:
        node.session.heartbeat(None)
        await node.flush()
        await node.until(HeartbeatAck)
    return node.heads[-1]


async def serve_and_copy(options: ServeOptions, older: Path) -> tuple[NodeClient, NodeClient]:
    """Two nodes that have joined; a copy of the store; then a change that the copy lacks, in the head of one node."""
    async with Server(options) as server:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": None})
        nodes = tuple(NodeClient(server.url, credentials(name, key["key"])) for name in ("one", "two"))
        for node in nodes:
            async with node:
                await node.joined()
    older.mkdir()  # noqa: ASYNC240 (nothing else runs here)
    for name in STORE:
        shutil.copy(options.data / name, older)
    async with Server(options) as server:
        await call(server, "POST", "/v1/users", json={"name": "bob"})
    async with Server(options) as server:
        one = NodeClient(server.url, nodes[0].again())
        async with one:
            await one.joined()
            assert SignedHead.from_bytes((await head_of(one)).signed).store == server.store.durable.identity
    return one, nodes[1]


async def test_an_older_copy_refuses_writes_and_sessions_stay(options: ServeOptions, tmp_path: Path) -> None:
    one, two = await serve_and_copy(options, tmp_path / "older")
    for name in STORE:
        shutil.copy(tmp_path / "older" / name, options.data)
    (options.data / "head.sig").unlink()
    recorder = Recorder()
    async with Server(options, recorder) as server, local(server) as client:
        assert (await client.post("/v1/users", json={"name": "carol"})).status_code == 201
        async with NodeClient(server.url, two.again()) as stays, NodeClient(server.url, one.again()) as witness:
            await stays.joined()
            await witness.joined()
            witness.session.return_head(one.heads[-1].signed)
            witness.session.heartbeat(None)
            await witness.flush()
            await witness.until(HeartbeatAck)
            while server.store.durable.fenced is None:  # noqa: ASYNC110 (there is no event for it)
                await asyncio.sleep(0.01)
            refused = await client.post("/v1/users", json={"name": "dave"})
            assert refused.status_code == 503
            assert "ghostwire db promote" in refused.json()["detail"]
            assert (await client.get("/v1/health/ready")).status_code == 503
            assert {user["name"] for user in (await client.get("/v1/users")).json()["users"]} >= {"alice", "carol"}
            for node in (stays, witness):
                node.session.heartbeat(None)
                await node.flush()
                await node.until(HeartbeatAck)
        assert [name for level, name, _ in recorder.events if level == "critical"] == ["store.fenced"]
    async with Server(options) as server, local(server) as client:
        assert (await client.post("/v1/users", json={"name": "dave"})).status_code == 503


async def test_the_head_in_the_folder_is_enough(options: ServeOptions, tmp_path: Path) -> None:
    await serve_and_copy(options, tmp_path / "older")
    for name in STORE:
        shutil.copy(tmp_path / "older" / name, options.data)
    async with Server(options) as server, local(server) as client:
        assert (await client.post("/v1/users", json={"name": "carol"})).status_code == 503


async def test_a_forged_head_stops_nothing(options: ServeOptions) -> None:
    async with Server(options) as server, local(server) as client:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        async with NodeClient(server.url, credentials("one", key["key"])) as node:
            await node.joined()
            genuine = SignedHead.from_bytes((await head_of(node)).signed)
            for forged in (b"no head", dataclasses.replace(genuine, epoch=9).to_bytes()):
                node.session.return_head(forged)
                await node.flush()
                while not node.refusals():
                    await node.step()
                assert isinstance(node.events.pop(), Refusal)
        assert (await client.post("/v1/users", json={"name": "carol"})).status_code == 201
