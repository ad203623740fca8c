"""What becomes of a peer that is taken away while the worker of those who see it stands still."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

import pytest
import websockets

from tests.integration.node_client import NodeClient
from tests.integration.workers import Workers, join, serving, wait

pytestmark = pytest.mark.integration

POLICY = json.dumps(
    {
        "tagOwners": {"tag:db": ["autogroup:admin"], "tag:closed": ["autogroup:admin"]},
        "acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:db:5432"]}],
    }
)
VIEWERS = 16
STILL_S = 0.3
"""Shorter than what a worker may leave a removal unconfirmed."""
TAKEN_S = 2.0
"""What is promised, counted from when the worker runs."""


async def until_gone(viewer: NodeClient, name: str) -> None:
    """Until a viewer's map lacks the peer, or the server has closed its session."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while name in [peer.name for peer in viewer.netmap.all_peers()]:
            await viewer.step()


async def seen_by_all(server: Workers, viewers: list[NodeClient]) -> tuple[NodeClient, int]:
    """A peer that all of them see, and a worker that has some of them and not the peer."""
    before = server.workers()
    assert min(before.values()) > 0, "every session is in one worker"
    key = server.ask(lambda admin: admin.post("/v1/preauth-keys", {"tags": ["tag:db"], "uses": 1}))
    (target,) = await join(key, "db")
    for viewer in viewers:
        await viewer.until_peers("db")
    (elsewhere,) = (pid for pid, sessions in server.workers().items() if sessions == before[pid])
    return target, elsewhere


async def test_once_its_worker_runs_again_no_agent_keeps_a_peer_that_was_taken_from_it() -> None:
    with serving("--workers", "2") as server:
        server.ask(lambda admin: admin.put("/v1/policy", {"text": POLICY}))
        viewers = await join(server.key(), *(f"n{number}" for number in range(VIEWERS)))
        _, still = await seen_by_all(server, viewers)
        os.kill(still, signal.SIGSTOP)
        deleted = asyncio.create_task(asyncio.to_thread(server.ask, lambda admin: admin.delete("/v1/nodes/db")))
        await asyncio.sleep(STILL_S)
        assert not deleted.done(), "an operator was answered though a worker had not taken the removal"
        os.kill(still, signal.SIGCONT)
        async with asyncio.timeout(TAKEN_S):
            await asyncio.gather(deleted, *(until_gone(viewer, "db") for viewer in viewers))
        assert still in server.workers()

        target, still = await seen_by_all(server, viewers)
        os.kill(still, signal.SIGSTOP)
        server.ask(lambda admin: admin.patch("/v1/nodes/db", {"tags": ["tag:closed"]}))
        assert still not in server.workers(), "a worker that stands still for longer is ended, and its sessions with it"
        async with asyncio.timeout(TAKEN_S):
            await asyncio.gather(*(until_gone(viewer, "db") for viewer in viewers))
        for node in (*viewers, target):
            await node.socket.close()
        wait(lambda: server.status()["sessions"] == 0)
