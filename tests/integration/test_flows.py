"""What agents exchange, counted by their tunnels and shown to operators."""

import json
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli import run
from tests.integration.agents import PATIENCE_S, Mesh

pytestmark = pytest.mark.integration


def test_what_two_agents_exchange_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Mesh(tmp_path) as mesh:
        one = mesh.agent("one").join(mesh.coordinator)
        two = mesh.agent("two").join(mesh.coordinator)
        one.until_sees("two")
        one.until("a ping", lambda _: one.ping("two", seconds=1.0) is not None)
        # What was counted goes with an agent that leaves, so that nobody waits for the minute.
        assert two.stop() == 0

        def told() -> Any:
            return mesh.coordinator.admin_get("/v1/flows?node=two")["flows"]

        (row,) = mesh.coordinator.child.until("told", told, PATIENCE_S)
        assert (row["node"], row["peer"]) == ("two", "one")
        assert row["rx_packets"] == row["tx_packets"] >= 1
        assert row["rx_bytes"] == row["tx_bytes"] == 84 * row["rx_packets"], "an echo of 56 bytes, its headers"
        mesh.coordinator.child.stop()
        mesh.coordinator.restart()
        assert run(["flows", "two", "--data", str(mesh.coordinator.data), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["flows"] == [row]
