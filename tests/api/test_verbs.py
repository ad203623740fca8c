"""Who may what by the command line: every verb that asks a coordinator, with every scope, from afar.

The table is this test's own. A verb that it does not name fails, so none is added without a word about who may use it.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
import pytest

from ghostwire.cli import run
from ghostwire.cli.outcome import Exit
from ghostwire.cli.verbs import VERBS
from ghostwire.coordinator.settings import Settings
from ghostwire.server import ServeOptions, Server
from tests.api.node import Node
from tests.api.operators import call

SCOPES = ("read", "write", "admin")
NEEDS = {
    "node list": "read",
    "node show {node}": "read",
    "node metrics {node}": "read",
    "node rename {node} renamed": "write",
    "node expire {node}": "write",
    "node delete {node} --yes": "write",
    "node tag {node} tag:server": "admin",
    "node approve-routes {node}": "write",
    "node rotate {node}": "write",
    "node maintenance {node}": "write",
    "flows": "read",
    "user list": "read",
    "user create carol": "admin",
    "user delete {user} --yes": "admin",
    "user role {user} admin": "admin",
    "key create --user alice": "write",
    "key create --user somebody-new": "admin",
    "key create --tag tag:server": "admin",
    "key list": "read",
    "key revoke {key}": "write",
    "key revoke {tagged}": "admin",
    "token create --scope read": "admin",
    "token list": "admin",
    "token revoke {token}": "admin",
    "policy show": "read",
    "policy history": "read",
    "policy diff {file}": "read",
    "policy test {file}": "read",
    "policy lint {file}": "read",
    "policy explain {node} {node}:80": "read",
    "policy apply {file}": "admin",
    "policy confirm 1": "admin",
    "policy rollback 1": "admin",
    "access request {node}": "write",
    "access list": "read",
    "access approve {access}": "write",
    "access deny {access}": "write",
    "access revoke {access}": "write",
    "server status": "read",
}
POLICY = """{"tagOwners": {"tag:server": []}, "acls": [], "ghostwire": {"requests": [
  {"name": "any", "src": ["alice@"], "dst": ["*"], "ip": ["*"], "approvers": ["bob@"], "longest": "1h"}]}}"""


def verbs() -> Iterator[str]:
    """Every verb that takes a token."""
    for name, (module, _) in VERBS.items():
        yield from leaves(name, importlib.import_module(module).command)


def leaves(name: str, command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for inner, found in command.commands.items():
            yield from leaves(f"{name} {inner}", found)
    elif any("--token" in parameter.opts for parameter in command.params):
        yield name


def test_the_table_names_every_verb_and_no_other() -> None:
    known = set(verbs())
    assert len(known) > 20
    assert {name for name in known if not any(line == name or line.startswith(f"{name} ") for line in NEEDS)} == set()
    assert {line for line in NEEDS if not any(line == name or line.startswith(f"{name} ") for name in known)} == set()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    options = ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")
    async with Server(options) as server:
        await call(server, "PUT", "/v1/policy", json={"text": POLICY})
        yield server


async def test_every_verb_with_every_scope(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "policy.hujson"
    file.write_text(POLICY.replace("]}}", "],}}"))
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
    tagged = await call(server, "POST", "/v1/preauth-keys", json={"tags": ["tag:server"]})
    tokens = {scope: await call(server, "POST", "/v1/tokens", json={"name": "x", "scope": scope}) for scope in SCOPES}
    async with Node(server.url, server.pin) as node:
        await node.register(key["key"], hostname="laptop")
    access = await call(server, "POST", "/v1/access", json={"target": "laptop", "ip": ["tcp:22"], "user": "alice"})
    there = {
        "node": "laptop",
        "user": "alice",
        "key": key["id"],
        "tagged": tagged["id"],
        "token": tokens["read"]["id"],
        "access": access["id"],
    }
    missing = {"node": "nobody", "user": "nobody", "key": 999, "tagged": tagged["id"], "token": 999, "access": 999}

    async def outcome(line: str, scope: str, names: dict[str, object]) -> int:
        where = ["--server", server.url, "--pin", str(server.pin), "--token", tokens[scope]["token"], "--json"]
        return await asyncio.to_thread(run, [*line.format(file=file, **names).split(), *where])

    before = await call(server, "GET", "/v1/status")
    wrong = []
    for scope in SCOPES:
        for line, needs in NEEDS.items():
            if SCOPES.index(scope) < SCOPES.index(needs):
                code = await outcome(line, scope, there)
                wrong += [f"{line} as {scope}: {code}"] if code != Exit.NOT_PERMITTED else []
    assert wrong == []
    assert (await call(server, "GET", "/v1/status"))["position"] == before["position"]
    for scope in SCOPES:
        for line, needs in NEEDS.items():
            if SCOPES.index(scope) >= SCOPES.index(needs):
                code = await outcome(line, scope, missing)
                wrong += [f"{line} as {scope}: {code}"] if code not in (Exit.DONE, Exit.FAILED) else []
    assert wrong == []
