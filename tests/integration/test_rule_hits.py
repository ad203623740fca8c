"""What the policy's rules did, counted where packets arrive and shown to operators."""

import json
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli import run
from tests.integration.agents import PATIENCE_S, Coordinator, Mesh

pytestmark = pytest.mark.integration

WEB = {"action": "accept", "src": ["alice@"], "dst": ["autogroup:self:80"], "proto": "tcp"}
PING = {"action": "accept", "src": ["alice@"], "dst": ["autogroup:self:*"], "proto": "icmp"}


def test_what_agents_count_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Mesh(tmp_path) as mesh:
        mesh.coordinator.apply(json.dumps({"acls": [WEB]}))
        one = mesh.agent("one").join(mesh.coordinator)
        two = mesh.agent("two").join(mesh.coordinator)
        one.until_sees("two")
        assert one.ping("two", seconds=1.0) is None
        mesh.coordinator.apply(json.dumps({"acls": [WEB, PING]}))
        two.until("a ping", lambda _: one.ping("two", seconds=1.0) is not None)
        # What was counted goes with an agent that leaves, so that nobody waits for the minute.
        assert two.stop() == 0
        shown = until_refused(mesh.coordinator)
        assert [rule["index"] for rule in shown["rules"]] == [0, 1]
        web, ping = shown["rules"]
        assert (web["hits"], web["last"], web["nodes"]) == (0, None, 0)
        assert ping["hits"] >= 1
        assert ping["nodes"] == 1
        mesh.coordinator.child.stop()
        mesh.coordinator.restart()
        assert run(["policy", "show", "--hits", "--data", str(mesh.coordinator.data), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == shown
        assert run(["policy", "show", "--hits", "--data", str(mesh.coordinator.data)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [
            ["acls[0]:1", "0"], ["acls[1]:1", str(ping["hits"])], ["-", str(shown["refused"]["hits"])],
        ]  # fmt: skip


def until_refused(coordinator: Coordinator) -> Any:
    def look() -> Any:
        found = coordinator.admin_get("/v1/policy/versions/2/hits")
        return found if found["refused"]["hits"] else None

    return coordinator.child.until("counted", look, PATIENCE_S)
