"""A leader and a worker in one process, with everything between them cut, held up, torn and lost."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ghostwire.coordinator.commands import RegisterNode
from ghostwire.coordinator.settings import Settings
from ghostwire.model.node import NodeFacts
from ghostwire.server import ServeOptions
from ghostwire.server.clock import system_clock
from ghostwire.server.listen import local
from ghostwire.server.port import World
from ghostwire.server.workers import relay, remote, stations
from ghostwire.server.workers.messages import Mark
from ghostwire.server.workers.worker import Worker
from ghostwire.testing.crash.faults import Fault, FaultVFS
from ghostwire.wire.client_session import MapChanged
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import Answer, HeartbeatAck
from tests.api.operators import call
from tests.integration.node_client import NodeClient, credentials
from tests.integration.recorder import Recorder
from tests.integration.worker_pair import Pair, alive, paired, until


@pytest.fixture
def disk() -> Iterator[FaultVFS]:
    with FaultVFS() as disk:
        yield disk


@pytest.fixture
async def pair(tmp_path: Path, disk: FaultVFS) -> AsyncIterator[Pair]:
    async with paired(tmp_path, disk.name) as found:
        yield found


async def test_a_link_that_is_cut_again_and_again_loses_and_doubles_nothing(pair: Pair) -> None:
    first = await pair.join("first")
    for number in range(8):
        pair.between.drop_after = 40 * number
        other = await pair.join(f"n{number}")
        await first.until_peers(*(f"n{at}" for at in range(number + 1)))
        await other.socket.close()
    assert pair.between.connections > 4
    await alive(first)
    assert len(pair.server.driver.outlet) == 1 or await gone(pair, 1)
    assert pair.worker.remote.replication.mismatches == 0
    await first.socket.close()


async def test_workers_come_back_after_the_leader_had_no_descriptor_left(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, accept = 0, socket.socket.accept

    def scarce(listening: socket.socket) -> Any:
        nonlocal failed
        if not failed and listening.family == socket.AF_UNIX:
            failed += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", scarce)
    for _ in range(2):
        pair.between.cut()
        await until(lambda: not pair.worker.remote.reached.is_set())
        await until(pair.worker.remote.reached.is_set)
    assert failed == 1


async def gone(pair: Pair, left: int) -> bool:
    await until(lambda: len(pair.server.driver.outlet) == left)
    return True


async def test_pieces_and_delays_change_nothing(pair: Pair) -> None:
    pair.between.piece, pair.between.delay_s = 7, 0.0002
    pair.between.cut()
    await until(lambda: pair.between.connections == 2 and pair.worker.remote.reached.is_set())
    nodes = [await pair.join("a"), await pair.join("b")]
    await nodes[0].until_peers("b")
    await nodes[1].until_peers("a")
    for node in nodes:
        await node.socket.close()


async def test_without_a_leader_sessions_stay_and_answers_are_stale(pair: Pair) -> None:
    nodes = [await pair.join("a"), await pair.join("b")]
    await nodes[0].until_peers("b")
    pair.between.refuses = True
    pair.between.cut()
    await until(lambda: not pair.worker.remote.reached.is_set())
    nodes[0].session.query(name="b")
    nodes[0].session.endpoints(("192.0.2.7:7",))
    await nodes[0].flush()
    answer = await nodes[0].until(Answer)
    assert (len(answer.peers), answer.stale) == (1, True)
    await alive(nodes[1])
    await asyncio.sleep(remote.CUT_S)
    stranger = NodeClient(pair.url, nodes[1].again(), nodes[1].netmap)
    async with stranger:
        while not stranger.refusals():
            await stranger.step()
    assert (stranger.refusals()[0].code, stranger.refusals()[0].retry_after) == ("unavailable", 1.0)
    nodes[0].session.endpoints(("192.0.2.8:8",))
    await nodes[0].flush()
    await alive(nodes[0])
    pair.between.refuses = False
    await until(lambda: pair.worker.remote.reached.is_set())
    await nodes[1].until(MapChanged)
    while nodes[1].netmap.all_peers()[0].endpoints != ("192.0.2.8:8",):
        await nodes[1].step()
    nodes[0].session.query(name="b")
    await nodes[0].flush()
    assert not (await nodes[0].until(Answer)).stale
    for node in nodes:
        await node.socket.close()


async def test_heads_that_nodes_return_are_answered_and_forgotten(pair: Pair) -> None:
    node = await pair.join("a")
    while not node.heads:
        await alive(node)
    for signed in (node.heads[-1].signed, b"no head"):
        node.session.return_head(signed)
    await node.flush()
    while not node.refusals():
        await node.step()
    assert [refusal.code for refusal in node.refusals()] == ["validation"]
    await until(lambda: not pair.worker.remote._asked)
    await node.socket.close()


async def test_so_many_counts_of_a_node_are_kept_until_a_leader_hears_them(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.model.beat.MOST_KEPT", 4)
    node = await pair.join("a")
    pair.between.refuses = True
    pair.between.cut()
    await until(lambda: not pair.worker.remote.reached.is_set())
    for rules in (range(1, 4), range(3, 5), (3, 5)):
        node.session.heartbeat(None, dict.fromkeys(rules, 1))
        await node.flush()
        await node.until(HeartbeatAck)
    assert [beat.hits for beat in pair.worker.remote._beats.values()] == [{1: 1, 2: 1, 3: 2, 4: 1}]
    await node.socket.close()


async def test_alone_for_long_a_worker_takes_no_connections(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostwire.server.workers.worker.ALONE_S", 0.1)
    monkeypatch.setattr("ghostwire.server.workers.worker.LOOK_S", 0.02)
    node = await pair.join("a")
    pair.between.refuses = True
    pair.between.cut()
    await until(lambda: not pair.worker.public.admits)
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.worker.naming.listen.port)
    assert (await reader.read()).startswith(b"HTTP/1.1 503")
    writer.close()
    await alive(node)
    pair.between.refuses = False
    await until(lambda: pair.worker.public.admits)
    await node.socket.close()


async def test_a_feed_that_cannot_be_followed_begins_anew(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FAULT_S", 0.01)
    nodes = [await pair.join("a"), await pair.join("b")]
    await nodes[0].until_peers("b")
    # As if a batch of the feed had been missed.
    pair.worker.remote.replication._replica.maps.window.begin((), 1_000_000)
    nodes[1].session.endpoints(("192.0.2.9:9",))
    await nodes[1].flush()
    while nodes[0].netmap.all_peers()[0].endpoints != ("192.0.2.9:9",):
        await nodes[0].step()
    nodes.append(await pair.join("c"))
    await nodes[0].until_peers("b", "c")
    for node in nodes:
        await alive(node)
    assert (len(pair.server.driver.outlet), pair.worker.remote.replication.mismatches) == (3, 0)
    for node in nodes:
        await node.socket.close()


async def test_nodes_are_answered_while_the_leader_says_much(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TURN_S", 0.0)
    node = await pair.join("a")
    (station,) = pair.server.stations._stations.values()
    for number in range(5000, 10_000):
        station.say(Mark(number))
    await until(lambda: bool(pair.worker.remote._heard))
    await alive(node)
    assert len(pair.worker.remote._heard) > 200
    await until(lambda: not pair.worker.remote._heard and not station.end.link.lag)
    other = await pair.join("b")
    await node.until_peers("b")
    for each in (node, other):
        await each.socket.close()


async def test_a_full_disk_refuses_who_joins_and_leaves_the_others_alone(pair: Pair, disk: FaultVFS) -> None:
    nodes = [await pair.join("a"), await pair.join("b")]
    await nodes[0].until_peers("b")
    key = await call(pair.server, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": 2})
    disk.fault = Fault("full", at=1, calls=("write",), lasting=True)
    async with NodeClient(pair.url, credentials("c", key["key"])) as refused:
        while not refused.refusals():
            await refused.step()
        assert refused.refusals()[0].code == "resource_exhausted"
    nodes[0].session.query(name="b")
    await nodes[0].flush()
    assert len((await nodes[0].until(Answer)).peers) == 1
    nodes[1].session.endpoints(("192.0.2.3:3",))
    await nodes[1].flush()
    while nodes[0].netmap.all_peers()[0].endpoints != ("192.0.2.3:3",):
        await nodes[0].step()
    disk.fault = None
    async with NodeClient(pair.url, credentials("c", key["key"])) as third:
        await third.joined()
        await nodes[0].until_peers("b", "c")
    assert pair.worker.remote.replication.mismatches == 0
    for node in nodes:
        await node.socket.close()


async def test_a_stranger_may_not_speak_as_a_worker(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.os, "geteuid", lambda: 54321)
    for name in (stations.SOCKET, relay.SOCKET):
        reader, writer = await asyncio.open_unix_connection(str(pair.server.options.data / name))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    for name in (stations.SOCKET, relay.SOCKET):
        assert (pair.server.options.data / name).stat().st_mode & 0o777 == 0o600


async def test_a_full_worker_tells_when_to_come_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostwire.server.port.MOST_SESSIONS", 1)
    node = await pair.join("a")
    reader, writer = await asyncio.open_connection("127.0.0.1", pair.worker.naming.listen.port)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in answer.lower()
    writer.close()
    await node.socket.close()


async def test_a_slot_is_given_again_only_when_the_worker_knows(pair: Pair) -> None:
    nodes = [await pair.join("a"), await pair.join("b")]
    slots = {name: pair.server.driver.coordinator.view.node_by_name(name).slot for name in ("a", "b")}
    pair.between.delay_s = 0.3
    deleting = asyncio.create_task(call(pair.server, "DELETE", "/v1/nodes/b"))
    key = await call(pair.server, "POST", "/v1/preauth-keys", json={"user": "alice"})
    made = await pair.server.driver.ask(lambda op: registration(op, key["key"]))
    assert not deleting.done()
    assert pair.server.driver.coordinator.view.node(made.node).slot not in slots.values()
    pair.between.delay_s = 0.0
    await deleting
    key = await call(pair.server, "POST", "/v1/preauth-keys", json={"user": "alice"})
    made = await pair.server.driver.ask(lambda op: registration(op, key["key"]))
    assert pair.server.driver.coordinator.view.node(made.node).slot == slots["b"]
    for node in nodes:
        await node.socket.close()


async def test_a_certificate_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostwire.server.workers.worker.RELOAD_S", 0.01)
    recorder = Recorder()
    options = ServeOptions(data=tmp_path, settings=Settings(), listen="127.0.0.1:0")
    worker = Worker(options, [], World(system_clock, os.urandom, recorder))
    (tmp_path / "tls.crt").write_bytes(b"")
    await worker.start()
    await until(lambda: [name for _, name, _ in recorder.events].count("tls.reload_failed") > 1)
    await worker.stop()


def registration(op: int, key: str) -> RegisterNode:
    facts = NodeFacts(hostname="c")
    node_key, machine_key = (public_key(clamp(os.urandom(32))) for _ in range(2))
    return RegisterNode(op=op, actor="test", node_key=node_key, machine_key=machine_key, facts=facts, preauth_key=key)
