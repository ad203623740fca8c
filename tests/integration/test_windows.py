"""A window that closes while the coordinator is away."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.agents import Mesh

pytestmark = pytest.mark.integration

OPEN_S = 12


def test_agents_part_at_the_end_without_their_coordinator(tmp_path: Path) -> None:
    with Mesh(tmp_path) as mesh:
        one = mesh.agent("one").join(mesh.coordinator)
        two = mesh.agent("two").join(mesh.coordinator)
        end = datetime.now(UTC) + timedelta(seconds=OPEN_S)
        grant = {"src": ["alice@"], "dst": ["autogroup:self"], "ip": ["*"], "expires": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        mesh.coordinator.apply(json.dumps({"acls": [], "ghostwire": {"grants": [grant]}}))
        one.until_sees("two")
        two.until_sees("one")
        assert one.ping("two") is not None
        mesh.coordinator.kill()
        if time.time() < int(end.timestamp()) - 1:
            assert [peer["name"] for peer in one.status()["peers"]] == ["two"]
        for agent in (one, two):
            agent.until("parted", lambda status: not status["peers"])
            assert not agent.status()["coordinator"]["connected"]
        assert time.time() >= int(end.timestamp())
        assert one.ping("two", seconds=0.5) is None
