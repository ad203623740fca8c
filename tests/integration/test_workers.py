"""Several processes behind one port: who has which session, and what happens when one of them stands still or dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import websockets

from ghostwire.model.flow import Flow
from ghostwire.testing.processes import Child
from ghostwire.wire.client_session import MapChanged
from ghostwire.wire.messages import Answer, HeartbeatAck, RotateOrder, ServerBye
from tests.integration.node_client import NodeClient, credentials
from tests.integration.workers import Workers, crowd, join, serving, wait

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared() -> Iterator[Workers]:
    with serving("--workers", "2") as server:
        yield server


async def alive(node: NodeClient) -> None:
    """The session answers."""
    node.session.heartbeat(None)
    await node.flush()
    await node.until(HeartbeatAck)


async def back(node: NodeClient, server: str) -> NodeClient:
    """The same node over a new connection, with the map that it holds."""
    again = NodeClient(server, node.again(), node.netmap)
    await again.__aenter__()
    await again.until(MapChanged)
    return again


async def test_nodes_of_different_workers_are_one_network(shared: Workers) -> None:
    async with crowd(shared, "alice", 16) as nodes:
        assert min(shared.workers().values()) > 0, "every session is in one worker"
        assert shared.status()["sessions"] == 16
        counted = shared.metrics()
        assert sum(count for name, count in counted.items() if name.startswith("ghostwire_worker_sessions")) == 16
        wait(lambda: shared.metrics()["ghostwire_connections"] == 16)
        first, second = nodes[:2]
        first.session.query(name="alice1")
        await first.flush()
        assert len((await first.until(Answer)).peers) == 1
        await alive(first)
        shared.ask(lambda admin: admin.delete("/v1/nodes/alice1"))
        await first.until_peers(*(f"alice{number}" for number in range(2, 16)))
        with pytest.raises(websockets.ConnectionClosed):
            await second.until(ServerBye)


async def test_what_nodes_exchange_reaches_the_leader_through_their_workers(shared: Workers) -> None:
    async with crowd(shared, "erin", 2) as nodes:
        ids = [node.netmap.own().id for node in nodes]
        for node, peer in zip(nodes, reversed(ids), strict=True):
            for _ in range(2):  # told together, a few seconds later
                node.session.heartbeat(None, flows={peer: Flow(1, 84, 2, 168)})
            await node.flush()
            await node.until(HeartbeatAck)

        def told() -> dict[str, list[int]]:
            flows = shared.ask(lambda admin: admin.get("/v1/flows"))["flows"]
            return {row["node"]: [row["rx_packets"], row["rx_bytes"], row["tx_packets"]] for row in flows}

        wait(lambda: told() == {"erin0": [2, 168, 4], "erin1": [2, 168, 4]})


async def test_a_newer_connection_takes_over_from_another_worker(shared: Workers) -> None:
    async with crowd(shared, "bob", 1) as nodes:
        before = {pid for pid, sessions in shared.workers().items() if sessions}
        while {pid for pid, sessions in shared.workers().items() if sessions} == before:
            again = await back(nodes[0], shared.status()["url"])
            bye = await nodes[0].until(ServerBye)
            assert "newer connection" in bye.reason
            nodes[0] = again
            assert shared.status()["sessions"] == 1


def test_http_reaches_the_leader_through_any_worker(shared: Workers) -> None:
    url = shared.status()["url"]
    token = shared.ask(lambda admin: admin.post("/v1/tokens", {"name": "t", "scope": "write"}))["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    for _ in range(6):
        assert httpx.get(f"{url}/v1/health/ready").json() == {"status": "ready"}
    assert httpx.get(f"{url}/v1/nodes").status_code == 401
    assert httpx.get(f"{url}/v1/nodes", headers=bearer).json()["total"] == shared.status()["nodes"]
    assert httpx.get(f"{url}/v1/version", headers={"Host": "evil.example"}).status_code == 403
    large = httpx.post(f"{url}/v1/preauth-keys", json={"user": "x" * 2_000_000}, headers=bearer)
    assert large.status_code == 413


async def test_a_worker_that_dies_is_replaced_and_its_nodes_are_back_unchanged(shared: Workers) -> None:
    async with crowd(shared, "dora", 6) as nodes:
        victim = max(shared.workers(), key=lambda pid: shared.workers()[pid])
        os.kill(victim, signal.SIGKILL)
        wait(lambda: victim not in shared.workers() and shared.ready())
        assert shared.status()["workers_replaced"] == shared.metrics()["ghostwire_workers_replaced_total"] == 1
        gone = []
        for node in nodes:
            try:
                await alive(node)
            except websockets.ConnectionClosed:
                gone.append(node)
        assert gone
        for node in gone:
            again = await back(node, shared.status()["url"])
            assert again.events[-1] == MapChanged("unchanged")
            nodes[nodes.index(node)] = again
        assert shared.status()["sessions"] == 6


async def test_a_leader_that_dies_comes_back_and_no_node_notices(shared: Workers) -> None:
    async with crowd(shared, "eve", 3) as nodes:
        log, leader = shared.status()["log"], shared.leader()
        os.kill(leader, signal.SIGKILL)
        for node in nodes:
            await alive(node)
        shared.child.until("ready", shared.ready, 30.0)
        assert (shared.leader() == leader, shared.status()["log"]) == (False, log)
        wait(lambda: shared.status()["sessions"] == 3)
        nodes += await join(shared.key("eve"), "eve3")
        for node in nodes:
            await node.until_peers(*({f"eve{number}" for number in range(4)} - {node.netmap.own().name}))
            await alive(node)


async def test_an_order_to_rotate_is_told_again_by_a_leader_that_comes_back(shared: Workers) -> None:
    async with crowd(shared, "gina", 2) as nodes:
        shared.ask(lambda admin: admin.post("/v1/nodes/gina0/rotate"))
        await nodes[0].until(RotateOrder)
        leader = shared.leader()
        os.kill(leader, signal.SIGKILL)
        await nodes[0].until(RotateOrder)
        shared.child.until("ready", shared.ready, 30.0)
        assert shared.leader() != leader
        wait(lambda: shared.status()["sessions"] == 2)
        await alive(nodes[1])
        assert not [event for event in nodes[1].events if isinstance(event, RotateOrder)]


HANGING = """
import time
from pathlib import Path
from ghostwire.cli import main
from ghostwire.server.workers import processes, supervisor
supervisor.HUNG_S, supervisor.START_S, supervisor.LOOK_S = 1.5, 6.0, 0.2
run, marker = processes.run_leader, Path({marker!r})
def run_or_hang(*arguments):
    if marker.exists():
        marker.unlink()
        time.sleep(3600.0)
    return run(*arguments)
processes.run_leader = run_or_hang
main()
"""


def impatient(room: Path) -> Workers:
    """A server whose supervisor's patience is short. A leader that finds the file `hang` never gets to its start."""
    server = Workers(room, "--workers", "1")
    command = [sys.executable, "-c", HANGING.format(marker=str(room / "hang")), *server.verb()]
    with (room / "log").open("wb") as log:
        server.child = Child(subprocess.Popen(command, stdout=log, stderr=log), "serve", room / "log")
    return server


async def test_a_leader_that_hangs_is_replaced(tmp_path: Path) -> None:
    server = impatient(tmp_path)
    with server.child:
        server.child.until("ready", server.ready, 30.0)
        (node,) = await join(server.key(), "laptop")
        leader = server.leader()
        os.kill(leader, signal.SIGSTOP)
        await alive(node)
        wait(lambda: "supervisor.leader_hung" in server.log())
        server.child.until("ready", server.ready, 30.0)
        wait(lambda: server.status()["sessions"] == 1)
        assert server.leader() != leader
        (tmp_path / "hang").touch()
        os.kill(server.leader(), signal.SIGKILL)
        wait(lambda: not (tmp_path / "hang").exists())
        server.child.until("ready", server.ready, 30.0)
        await alive(node)
        await node.socket.close()


async def test_all_of_them_may_die_at_once(shared: Workers) -> None:
    async with crowd(shared, "fred", 4) as nodes:
        await asyncio.sleep(5.5)  # what may be lost is on disk by now
        for pid in (shared.leader(), *shared.workers()):
            os.kill(pid, signal.SIGKILL)
        shared.child.until("ready", shared.ready, 30.0)
        for at, node in enumerate(nodes):
            nodes[at] = await back(node, shared.status()["url"])
            assert nodes[at].events[-1] == MapChanged("unchanged")


async def test_a_removal_is_answered_when_a_worker_that_stands_still_is_gone(shared: Workers) -> None:
    async with crowd(shared, "gil", 6):
        still = max(shared.workers(), key=lambda pid: shared.workers()[pid])
        os.kill(still, signal.SIGSTOP)
        began = time.monotonic()
        shared.ask(lambda admin: admin.delete("/v1/nodes/gil5"))
        assert time.monotonic() - began > 0.9
        assert still not in shared.workers()
        wait(shared.ready)
        assert "left a confirmation open" in shared.log()


async def test_a_worker_that_stands_still_goes_on_or_is_replaced(shared: Workers) -> None:
    async with crowd(shared, "hal", 6) as nodes:
        still = max(shared.workers(), key=lambda pid: shared.workers()[pid])
        os.kill(still, signal.SIGSTOP)
        shared.key("hal")
        await asyncio.sleep(3)
        os.kill(still, signal.SIGCONT)
        for node in nodes:
            await alive(node)
        shared.ask(lambda admin: admin.delete("/v1/nodes/hal5"))
        await nodes[0].until_peers("hal1", "hal2", "hal3", "hal4")
        assert still in shared.workers()
        os.kill(still, signal.SIGSTOP)
        wait(lambda: still not in shared.workers() and shared.ready())
        assert "was silent for" in shared.log()


@pytest.mark.parametrize(("before", "after"), [("2", "2"), ("0", "2"), ("2", "0")])
async def test_a_server_is_replaced_and_every_node_comes_back_unchanged(before: str, after: str) -> None:
    with serving("--workers", before) as server:
        key = server.key()
        nodes = await join(key, *(f"n{number}" for number in range(4)))
        for node in nodes:
            await node.until_peers(*({f"n{number}" for number in range(4)} - {node.netmap.own().name}))
        pid, log = server.child.pid, server.status()["log"]
        old = server.child
        server.words = ("--workers", after)
        server.child = Child.start(server.verb("--takeover"), server.room / "second")
        assert await asyncio.to_thread(old.wait, 30) == 0
        server.child.until("ready", server.ready, 30.0)
        assert (server.child.pid == pid, server.status()["log"], server.status()["url"]) == (False, log, key["server"])
        for at, node in enumerate(nodes):
            assert (await node.until(ServerBye)).retry_after <= 1.0
            nodes[at] = await back(node, key["server"])
            assert nodes[at].events[-1] == MapChanged("unchanged")
            await alive(nodes[at])
        for node in nodes:
            await node.socket.close()


async def test_workers_end_tls_with_the_one_pinned_key() -> None:
    with serving("--workers", "2", "--tls", "on") as server:
        key = server.key()
        assert key["server"].startswith("https://")
        nodes = await join(key, *(f"n{number}" for number in range(16)))
        assert min(server.workers().values()) > 0, "every session is in one worker"
        await nodes[0].until_peers(*(f"n{number}" for number in range(1, 16)))
        async with httpx.AsyncClient(verify=False) as client:
            assert (await client.get(f"{key['server']}/v1/health/ready")).json() == {"status": "ready"}
        for node in nodes:
            await node.socket.close()


async def test_a_signal_to_the_whole_group_ends_it_gracefully() -> None:
    with serving("--workers", "2") as server:
        async with NodeClient((key := server.key())["server"], credentials("laptop", key["key"])) as node:
            await node.joined()
            os.killpg(server.child.pid, signal.SIGINT)
            await node.until(ServerBye)
        assert await asyncio.to_thread(server.child.wait, 20) == 0
        assert "server.stopped" in server.log()


def test_without_their_supervisor_all_of_them_end_and_the_folder_is_free() -> None:
    with serving("--workers", "2") as server:
        orphans = [psutil.Process(pid) for pid in (server.leader(), *server.workers())]
        server.child.kill()
        _, left = psutil.wait_procs(orphans, timeout=20)
        assert left == []
        server.child = server.start()


async def test_a_server_that_cannot_take_over_leaves_the_old_one_as_it_was() -> None:
    with serving("--workers", "2") as server:
        nodes = await join(server.key(), "n0", "n1")
        (server.data / "ghostwire.yaml").write_text("database:\n  key_file: /does/not/exist\n")
        failing = Child.start(server.verb("--takeover"), server.room / "second")
        assert await asyncio.to_thread(failing.wait, 30) != 0
        server.child.until("ready", server.ready, 30.0)
        wait(lambda: server.status()["sessions"] == 2)
        assert "takeover.failed" in server.log()
        nodes += await join(server.key(), "n2")
        await nodes[0].until_peers("n1", "n2")
        for node in nodes:
            await alive(node)
            await node.socket.close()


def memory(pid: int) -> Iterator[bytes]:
    """Everything that a process may write to, region by region."""
    with Path(f"/proc/{pid}/mem").open("rb") as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                first, last = (int(end, 16) for end in span.split("-"))
                file.seek(first)
                with contextlib.suppress(OSError):  # a region that only the kernel reads
                    yield file.read(last - first)


def test_only_the_leader_has_the_stores_key() -> None:
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        passphrase = Path(folder, "passphrase")
        passphrase.write_text("correct-horse-battery-staple\n")
        passphrase.chmod(0o600)
        with serving("--workers", "2", config=f"database:\n  passphrase_file: {passphrase}\n") as server:
            others = [server.child.pid, *server.workers()]
            for pid in others:
                held = {link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()}
                assert not [file for file in held if server.data in file.parents and file.suffix != ".sock"]
                regions = list(memory(pid))
                assert any(str(server.data).encode() in region for region in regions), "the search finds nothing"
                assert not any(b"correct-horse" in region for region in regions)
            assert server.data / "ghostwire.db" in {
                link.readlink() for link in Path(f"/proc/{server.leader()}/fd").iterdir()
            }
