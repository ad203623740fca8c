"""No secret reaches logs, traces, metrics, error texts or what objects say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from ghostwire.coordinator.settings import Settings
from ghostwire.server import ServeOptions, Server
from tests.api.node import Node
from tests.api.operators import call, local, remote
from tests.integration.recorder import Recorder


async def test_nothing_that_is_told_holds_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    options = ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")
    secrets: list[str] = []
    told: list[Any] = []
    async with Server(options, recorder) as server:
        for made in (
            await call(server, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": 2}),
            await call(server, "POST", "/v1/tokens", json={"name": "ci", "scope": "admin"}),
        ):
            secrets.append(made.get("key") or made["token"])
        key, token = secrets
        async with Node(server.url, server.pin) as node:
            await node.register(key, hostname="laptop")
            await node.mapped()
            secrets.append(str(node.token))
            await node.rotate()
            secrets += [str(node.token), node.private.hex()]
        async with remote(server, token) as client:
            told += [(await client.get(path)).text for path in ("/v1/status", "/metrics", "/v1/tokens", "/v1/nodes")]
            told += [response.text for response in await mistakes(client, token, key)]
        async with remote(server, token[:-1] + ("A" if token[-1] != "A" else "B")) as client:
            told.append((await client.get("/v1/nodes")).text)
        async with local(server) as client:
            told.append((await client.get(f"/v1/nodes/{key}")).text.replace(key, "what was asked"))
        told += [repr(server.options), repr(server.public.sessions.gate), repr(server.driver.coordinator)]
        mac_key = next(
            setting.value
            for setting in (await server.store.load(bytes)).tables["settings"]
            if setting.name == "mac_key"
        )
        secrets += [mac_key.hex(), repr(mac_key)]
    secrets += [(options.data / "store.key").read_text().strip(), (options.data / "tls.key").read_text().strip()]
    told += [recorder.events, caplog.text]
    text = repr(told)
    assert len(secrets) == 9
    assert [secret for secret in secrets if secret in text] == []
    assert "laptop" in text


async def mistakes(client: httpx.AsyncClient, token: str, key: str) -> list[httpx.Response]:
    """Requests that are refused, with secrets where they do not belong."""
    return [
        await client.get("/v1/users", headers={"x-other": token}),
        await client.post("/v1/preauth-keys", json={"user": "alice", "uses": 0}),
        await client.post("/v1/tokens", json={"name": "x", "scope": "root"}),
        await client.post("/v1/preauth-keys", content=b"{" + key.encode()),
    ]
