"""What nodes exchanged, asked for over REST and by the verb."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ghostwire.cli import run
from ghostwire.coordinator.settings import Settings
from ghostwire.server import ServeOptions, Server
from tests.api.node import Node
from tests.api.operators import call, local

LAPTOP = [3, 300, 2, 168]
PHONE = [2, 168, 3, 300]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    options = ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")
    async with Server(options) as server:
        yield server


async def told(server: Server) -> None:
    """Two nodes tell what they exchanged with each other."""
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": 2})
    async with Node(server.url, server.pin) as laptop, Node(server.url, server.pin) as phone:
        ids = []
        for node, name in ((laptop, "laptop"), (phone, "phone")):
            ids.append(int((await node.register(key["key"], hostname=name))["node"]))
            await node.mapped()
        for node, peer, counts in ((laptop, ids[1], LAPTOP), (phone, ids[0], PHONE)):
            await node.send("heartbeat", flows={peer: counts})
            await node.until("heartbeat.ack")
    await server.driver.stop()  # flushes what is volatile
    await server.store.flows.close()


async def test_a_heartbeat_becomes_a_row(server: Server) -> None:
    await told(server)
    found = await call(server, "GET", "/v1/flows?node=laptop")
    (row,) = found["flows"]
    assert (row["node"], row["peer"]) == ("laptop", "phone")
    assert [row[name] for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")] == LAPTOP
    both = await call(server, "GET", "/v1/flows")
    assert {(row["node"], row["peer"], row["rx_bytes"]) for row in both["flows"]} == {
        ("laptop", "phone", 300),
        ("phone", "laptop", 168),
    }
    past = {"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}
    assert (await call(server, "GET", "/v1/flows", params=past))["flows"] == []


async def test_what_cannot_be_answered_is_refused(server: Server) -> None:
    async with local(server) as client:
        backwards = await client.get("/v1/flows", params={"from": "2020-01-02T00:00:00Z", "to": "2020-01-01T00:00:00Z"})
        nobody = await client.get("/v1/flows", params={"node": "nobody"})
    assert (backwards.status_code, nobody.status_code) == (400, 404)


async def test_the_verb_makes_a_table_and_speaks_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    async def verb(*more: str) -> str:
        assert await asyncio.to_thread(run, ["flows", *more, "--data", str(server.options.data)]) == 0
        return capsys.readouterr().out

    assert "Nothing was told" in await verb()
    await told(server)
    lines = (await verb("laptop", "--since", "2h")).splitlines()
    assert [line.split() for line in lines] == [
        ["NODE", "PEER", "RECEIVED", "SENT", "PACKETS", "IN", "PACKETS", "OUT"],
        ["laptop", "phone", "300", "B", "168", "B", "3", "2"],
    ]
    assert [row["peer"] for row in json.loads(await verb("phone", "--json"))["flows"]] == ["laptop"]
