"""The machine's wall clock is set forward or back, under a leader and its worker with live sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire.model.time import SECOND, Now
from ghostwire.server.clock import system_clock
from ghostwire.wire.client_session import MapChanged
from ghostwire.wire.messages import Answer
from tests.integration.node_client import NodeClient
from tests.integration.worker_pair import alive, paired

DAY_S = 86_400


class Wall:
    """This machine's clocks, but for the wall clock's steps."""

    def __init__(self) -> None:
        self.ahead_s = 0

    def __call__(self) -> Now:
        now = system_clock()
        return Now(now.mono, now.utc + self.ahead_s * SECOND)


@pytest.mark.parametrize("step_s", [3 * DAY_S, -3 * DAY_S])
async def test_sessions_maps_and_joins_go_on_when_the_clock_steps(tmp_path: Path, step_s: int) -> None:
    wall = Wall()
    async with paired(tmp_path, clock=wall) as pair:
        nodes = [await pair.join("a"), await pair.join("b")]
        await nodes[0].until_peers("b")
        for ahead_s in (step_s, 0):
            wall.ahead_s = ahead_s
            for node in nodes:
                await alive(node)
            endpoint = f"192.0.2.1:{1 + len(nodes)}"
            nodes[1].session.endpoints((endpoint,))
            await nodes[1].flush()
            while endpoint not in [end for peer in nodes[0].netmap.all_peers() for end in peer.endpoints]:
                await nodes[0].step()
            nodes.append(await pair.join(f"n{len(nodes)}"))
            await nodes[0].until_peers("b", *(f"n{number}" for number in range(2, len(nodes))))
            nodes[0].session.query(name="b")
            await nodes[0].flush()
            assert not (await nodes[0].until(Answer)).stale
            await nodes[1].until_peers("a", *(f"n{number}" for number in range(2, len(nodes))))
            welcome = nodes[1].session.welcome
            assert welcome is not None
            again = NodeClient(pair.url, nodes[1].again(welcome.token), nodes[1].netmap)
            await again.__aenter__()
            await again.until(MapChanged)
            assert again.events[-1] == MapChanged("unchanged")
            await nodes[1].socket.close()
            nodes[1] = again
        assert pair.server.driver.coordinator.view.health(1).is_online
        assert len(pair.server.driver.outlet) == len(nodes)
        assert pair.worker.remote.replication.mismatches == 0
        for node in nodes:
            await node.socket.close()
