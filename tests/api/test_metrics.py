"""What nodes tell with their heartbeats, asked for over REST and by the verb."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli import run
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.snapshot import NodeSeen
from ghostwire.model.node import NodeMetrics
from ghostwire.server import ServeOptions, Server
from tests.api.node import Node
from tests.api.operators import call, local

TOLD: dict[str, Any] = {
    "load_factor": 0.25,
    "latency_ms": 12.5,
    "uptime_seconds": 90,
    "bandwidth_mbps": 1.5,
    "bytes_in": 10,
    "bytes_out": 20,
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    options = ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")
    async with Server(options) as server:
        yield server


async def joined(server: Server, node: Node) -> int:
    """A node with a session; its id."""
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
    welcome = await node.register(key["key"], hostname="laptop")
    await node.mapped()
    return int(welcome["node"])


@pytest.fixture
async def told(server: Server) -> Server:
    """A server that keeps the metrics of a node."""
    async with Node(server.url, server.pin) as node:
        number = await joined(server, node)
    seen = NodeSeen(node_id=number, last_seen=time.time_ns(), metrics=NodeMetrics(**TOLD))
    server.store.metrics.record([seen])
    await server.store.metrics.close()
    return server


async def test_a_heartbeat_becomes_a_point(server: Server) -> None:
    async with Node(server.url, server.pin) as node:
        await joined(server, node)
        await node.send("heartbeat", position=node.map.position, digest=node.map.digest, metrics=TOLD)
        await node.until("heartbeat.ack")
    await server.driver.stop()  # flushes what is volatile
    await server.store.metrics.close()
    found = await call(server, "GET", "/v1/nodes/laptop/metrics?step=3600")
    assert [{name: point[name] for name in TOLD} for point in found["points"]] == [TOLD]


async def test_an_hour_is_the_default(told: Server) -> None:
    found = await call(told, "GET", "/v1/nodes/laptop/metrics")
    assert found["step"] == 30
    begun = datetime.fromisoformat(found["since"])
    assert timedelta(0) <= datetime.now(UTC) - begun - timedelta(hours=1) < timedelta(minutes=1)
    assert [point["samples"] for point in found["points"]] == [1]
    before = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
    assert (await call(told, "GET", "/v1/nodes/laptop/metrics", params=before))["points"] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"from": "2020-01-02T00:00:00Z", "to": "2020-01-01T00:00:00Z"}, 422),
        ({"from": "2020-01-02T00:00:00Z", "step": "1"}, 422),
        ({"from": "1600-01-01T00:00:00Z"}, 422),
        ({"to": "9000-01-01T00:00:00Z"}, 422),
        ({"step": "0"}, 422),
        ({"from": "yesterday"}, 422),
    ],
)
async def test_what_cannot_be_answered_is_refused(told: Server, query: dict[str, str], status: int) -> None:
    async with local(told) as client:
        answer = await client.get("/v1/nodes/laptop/metrics", params=query)
    assert answer.status_code in (400, status), answer.text


async def test_the_verb_plots_and_speaks_json(told: Server, capsys: pytest.CaptureFixture[str]) -> None:
    async def verb(*more: str) -> str:
        line = ["node", "metrics", "laptop", *more, "--data", str(told.options.data)]
        assert await asyncio.to_thread(run, line) == 0
        return capsys.readouterr().out

    text = await verb("--last", "5m")
    latency = next(line for line in text.splitlines() if line.startswith("latency"))
    assert "█" in latency
    assert latency.split()[-3:] == ["12.5", "12.5", "12.5"]
    found: Any = json.loads(await verb("--json", "--step", "10m"))
    assert (found["step"], len(found["points"])) == (600, 1)


async def test_the_cache_is_in_the_metrics(told: Server) -> None:
    async with local(told) as client:
        text = (await client.get("/metrics")).text
    for name in (
        'blocks_reads_total{result="hits"}',
        "blocks_evictions_total",
        "blocks_decode_seconds_total",
        "blocks_cached_bytes",
    ):
        assert f"ghostwire_zqlite_{name} " in text
