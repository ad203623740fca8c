"""Several processes behind one port: who has which session, and what happens when one of them stands still or dies."""

from __future__ import annotations

import pytest
import websockets

from ghostwire.wire.client_session import MapChanged
from ghostwire.wire.messages import Answer, HeartbeatAck
from tests.integration.workers import join, serving

pytestmark = pytest.mark.integration


async def test_nodes_of_different_workers_are_one_network() -> None:
    with serving("--workers", "2") as server:
        names = [f"n{number}" for number in range(8)]
        nodes = await join(server.key(), *names)
        for node, name in zip(nodes, names, strict=True):
            await node.until_peers(*(other for other in names if other != name))
        assert sorted(server.workers().values())[0] > 0, "every session is in one worker"
        assert server.status()["sessions"] == 8

        first, second = nodes[:2]
        first.session.query(name="n1")
        await first.flush()
        answer = await first.until(Answer)
        assert len(answer.peers) == 1
        first.session.heartbeat(None)
        await first.flush()
        await first.until(HeartbeatAck)

        server.ask(lambda admin: admin.delete(f"/v1/nodes/{second.netmap.own().id}"))
        await first.until_peers(*names[2:])
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await second.step()
        for node in nodes:
            await node.socket.close()
