"""Who may what: every route with every role, session messages with and without a session, and what belongs to whom.

The table below is this test's own. A route or message that it does not name fails, so nothing is added without a word
about who may use it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import websockets
from litestar import Litestar

from ghostwire.coordinator.settings import Settings
from ghostwire.server import ServeOptions, Server
from ghostwire.wire import messages
from tests.api.node import Node
from tests.api.operators import call, local, remote

ROLES = ("nobody", "read", "write", "admin", "socket")
NEEDS = {
    "GET /v1/health/live": "nobody",
    "GET /v1/health/ready": "nobody",
    "GET /v1/version": "nobody",
    "GET /v1/status": "read",
    "GET /v1/addresses": "read",
    "GET /metrics": "read",
    "GET /v1/openapi": "read",
    "GET /v1/openapi/openapi.json": "read",
    "GET /v1/openapi/{path:str}": "read",
    "GET /v1/nodes": "read",
    "GET /v1/nodes/{node:str}": "read",
    "GET /v1/nodes/{node:str}/health": "read",
    "GET /v1/nodes/{node:str}/metrics": "read",
    "GET /v1/nodes/{node:str}/netmap": "read",
    "GET /v1/flows": "read",
    "PATCH /v1/nodes/{node:str}": "write",
    "DELETE /v1/nodes/{node:str}": "write",
    "POST /v1/nodes/{node:str}/expire": "write",
    "POST /v1/nodes/{node:str}/rotate": "write",
    "GET /v1/users": "read",
    "GET /v1/users/{user:str}": "read",
    "POST /v1/users": "admin",
    "PATCH /v1/users/{user:str}": "admin",
    "DELETE /v1/users/{user:str}": "admin",
    "GET /v1/preauth-keys": "read",
    "GET /v1/preauth-keys/{key_id:int}": "read",
    "POST /v1/preauth-keys": "write",
    "DELETE /v1/preauth-keys/{key_id:int}": "write",
    "GET /v1/tokens": "admin",
    "POST /v1/tokens": "admin",
    "DELETE /v1/tokens/{token_id:int}": "admin",
    "POST /v1/db": "socket",
    "GET /v1/policy": "read",
    "PUT /v1/policy": "admin",
    "POST /v1/policy/check": "read",
    "POST /v1/policy/test": "read",
    "POST /v1/policy/diff": "read",
    "POST /v1/policy/lint": "read",
    "POST /v1/policy/replay": "read",
    "GET /v1/policy/explain": "read",
    "GET /v1/policy/versions": "read",
    "GET /v1/policy/versions/{number:int}": "read",
    "GET /v1/policy/versions/{number:int}/diff": "read",
    "GET /v1/policy/versions/{number:int}/hits": "read",
    "POST /v1/policy/confirm": "admin",
    "POST /v1/policy/rollback": "admin",
    "GET /v1/access": "read",
    "GET /v1/access/{request_id:int}": "read",
    "POST /v1/access": "write",
    "POST /v1/access/{request_id:int}/approve": "write",
    "POST /v1/access/{request_id:int}/deny": "write",
    "POST /v1/access/{request_id:int}/revoke": "write",
}


def routes(application: Litestar) -> Iterator[str]:
    for route in application.routes:
        for handler in getattr(route, "route_handlers", ()):
            for method in handler.http_methods:
                if method != "OPTIONS":
                    yield f"{method} {route.path}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    options = ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")
    async with Server(options) as server:
        yield server


async def tokens(server: Server) -> dict[str, str | None]:
    found: dict[str, str | None] = {"nobody": None}
    for scope in ("read", "write", "admin"):
        made = await call(server, "POST", "/v1/tokens", json={"name": scope, "scope": scope})
        found[scope] = made["token"]
    return found


async def test_the_table_names_every_route_and_no_other(server: Server) -> None:
    assert set(routes(server.application)) == set(NEEDS)


async def test_every_route_with_every_role(server: Server) -> None:
    found = await tokens(server)
    wrong = []
    for role in ROLES:
        async with local(server) if role == "socket" else remote(server, found[role]) as client:
            for route, needs in NEEDS.items():
                method, path = filled(route)
                body = {} if method in ("POST", "PUT", "PATCH") else None
                status = (await client.request(method, path, json=body)).status_code
                refused = 401 if role == "nobody" else 403
                if ROLES.index(role) >= ROLES.index(needs):
                    right = status not in (401, 403)
                else:
                    right = status == refused
                if not right:
                    wrong.append(f"{route} as {role}: {status}")
    assert wrong == []


async def test_what_is_refused_changes_nothing_of_what_is_there(server: Server) -> None:
    """As above, with a node, its user, a key and a token that are there, and bodies that would do."""
    found = await tokens(server)
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
    async with Node(server.url, server.pin) as node:
        await node.register(key["key"], hostname="laptop")
    bodies: dict[str, Any] = {
        "PATCH /v1/nodes/{node:str}": {"name": "other"},
        "POST /v1/users": {"name": "mallory"},
        "PATCH /v1/users/{user:str}": {"role": "owner"},
        "POST /v1/preauth-keys": {"user": "alice"},
        "POST /v1/tokens": {"name": "x", "scope": "read"},
        "PUT /v1/policy": {"text": "{}", "allow_all": True},
    }
    before = await call(server, "GET", "/v1/status")
    wrong = []
    for role in ("nobody", "read", "write"):
        async with remote(server, found[role]) as client:
            for route, needs in NEEDS.items():
                if ROLES.index(role) < ROLES.index(needs):
                    method, _, path = route.partition(" ")
                    for name, there in {"node:str": "laptop", "user:str": "alice", "path:str": "openapi.json"}.items():
                        path = path.replace(f"{{{name}}}", there)
                    for number in ("key_id", "token_id", "number", "request_id"):
                        path = path.replace(f"{{{number}:int}}", "1")
                    status = (await client.request(method, path, json=bodies.get(route))).status_code
                    wrong += [f"{route} as {role}: {status}"] if status != (401 if role == "nobody" else 403) else []
    assert wrong == []
    assert (await call(server, "GET", "/v1/status"))["position"] == before["position"]


def filled(route: str) -> tuple[str, str]:
    """The method and path of a route, its parameters naming what does not exist."""
    method, _, path = route.partition(" ")
    for name in ("node", "user", "path"):
        path = path.replace(f"{{{name}:str}}", "nothing-like-it")
    for number in ("key_id", "token_id", "number", "request_id"):
        path = path.replace(f"{{{number}:int}}", "999")
    return method, path


async def test_options_and_other_methods_tell_nothing(server: Server) -> None:
    async with remote(server, None) as client:
        for path in ("/v1/nodes", "/v1/nodes/x", "/v1/none", "/metrics"):
            for method in ("OPTIONS", "HEAD", "TRACE", "PUT", "PROPFIND"):
                assert (await client.request(method, path)).status_code == 401


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ({"user": "alice"}, "write"),
        ({"user": "somebody-new"}, "admin"),
        ({"tags": ["tag:server"]}, "admin"),
    ],
)
async def test_what_a_key_may_be_for(server: Server, body: dict[str, Any], needs: str) -> None:
    await call(server, "POST", "/v1/users", json={"name": "alice"})
    await call(server, "PUT", "/v1/policy", json={"text": '{"tagOwners": {"tag:server": []}, "acls": []}'})
    found = await tokens(server)
    for role in ("read", "write", "admin"):
        async with remote(server, found[role]) as client:
            response = await client.post("/v1/preauth-keys", json=body)
        allowed = ROLES.index(role) >= ROLES.index(needs)
        assert (response.status_code == 201) == allowed, (role, response.text)
        assert allowed or response.status_code == 403


async def test_tags_are_an_admins_to_give_and_to_revoke(server: Server) -> None:
    await call(server, "PUT", "/v1/policy", json={"text": '{"tagOwners": {"tag:server": []}, "acls": []}'})
    found = await tokens(server)
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
    tagged = await call(server, "POST", "/v1/preauth-keys", json={"tags": ["tag:server"]})
    async with Node(server.url, server.pin) as node:
        await node.register(key["key"], hostname="laptop")
        for role, expected in (("write", 403), ("admin", 200)):
            async with remote(server, found[role]) as client:
                response = await client.patch("/v1/nodes/laptop", json={"tags": ["tag:server"]})
                assert response.status_code == expected, response.text
        for role, expected in (("write", 403), ("admin", 204)):
            async with remote(server, found[role]) as client:
                assert (await client.delete(f"/v1/preauth-keys/{tagged['id']}")).status_code == expected


async def test_read_sees_no_secret(server: Server) -> None:
    found = await tokens(server)
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": None})
    async with Node(server.url, server.pin) as node:
        await node.register(key["key"], hostname="laptop")
        secrets = [key["key"], node.token, *(token for token in found.values() if token)]
        store_key = (server.options.data / "store.key").read_text().strip()
        async with remote(server, found["read"]) as client:
            for route, needs in NEEDS.items():
                method, _, path = route.partition(" ")
                if method != "GET" or needs == "admin" or "{path" in path:
                    continue
                path = path.replace("{node:str}", "laptop").replace("{user:str}", "alice").replace("{key_id:int}", "1")
                path = path.replace("{number:int}", "0").replace("{request_id:int}", "1")
                text = (await client.get(path)).text
                assert not [secret for secret in [*secrets, store_key] if secret and secret in text], path
                assert "mac" not in text or path.startswith("/v1/openapi") or "machine" in text, path


async def test_a_token_ends_when_it_is_revoked(server: Server) -> None:
    made = await call(server, "POST", "/v1/tokens", json={"name": "x", "scope": "admin"})
    async with remote(server, made["token"]) as client:
        assert (await client.get("/v1/nodes")).status_code == 200
        await call(server, "DELETE", f"/v1/tokens/{made['id']}")
        assert (await client.get("/v1/nodes")).status_code == 401


# Sessions.

BEFORE = {"register", "hello", "challenge.request", "bye"}
"""What a connection without a session may say at all."""
SAMPLES: dict[str, dict[str, Any]] = {
    "register": {"body": b"", "proof": {"mac": b"", "nonce": b"", "origin": ""}},
    "hello": {"body": b"", "proof": {"mac": b"", "nonce": b"", "origin": ""}},
    "rotate_key": {
        "body": b"",
        "old_proof": {"mac": b"", "nonce": b"", "origin": ""},
        "new_proof": {"mac": b"", "nonce": b"", "origin": ""},
    },
    "challenge.request": {},
    "heartbeat": {},
    "endpoints": {"endpoints": ["192.0.2.1:1"]},
    "query.peers": {"id": 1},
    "resync": {},
    "head": {"signed": b""},
    "bye": {"logout": True},
}


def test_the_samples_name_every_message_and_no_other() -> None:
    known = {kind.__struct_config__.tag for kind in get_args(messages.FromNode)}
    assert known == set(SAMPLES)


def test_no_message_names_another_node_but_the_query() -> None:
    """A session speaks for its own node only: there is no field by which it could name another."""
    for kind in get_args(messages.FromNode):
        names = {field.name for field in msgspec.structs.fields(kind)}
        assert kind is messages.Query or not names & {"node", "node_id", "user", "owner", "session"}


@pytest.mark.parametrize("kind", SAMPLES)
async def test_without_a_session_nothing_happens(server: Server, kind: str) -> None:
    before = await call(server, "GET", "/v1/status")
    async with Node(server.url, server.pin) as node:
        await node.send(kind, **SAMPLES[kind])
        if kind == "challenge.request":
            assert (await node.receive())["type"] == "challenge"
        elif kind == "bye":
            with pytest.raises(websockets.ConnectionClosed):
                await node.receive()
        else:
            refused = await node.receive()
            assert (refused["type"], refused["final"]) == ("error", True)
            assert refused["code"] in ("wire", "validation", "authentication")
            assert kind in BEFORE or refused["message"] == "register or hello comes first"
            with pytest.raises(websockets.ConnectionClosed):
                await node.receive()
    after = await call(server, "GET", "/v1/status")
    assert (after["nodes"], after["position"]) == (before["nodes"], before["position"])


async def test_within_a_session_there_is_no_second_one(server: Server) -> None:
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": None})
    for kind in ("register", "hello"):
        async with Node(server.url, server.pin) as node:
            await node.register(key["key"], hostname="laptop")
            await node.send(kind, **SAMPLES[kind])
            refused = await node.until("error")
            assert refused["code"] == "wire"


async def test_a_session_ends_with_its_node_and_with_its_key(server: Server) -> None:
    key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice", "uses": None})
    for path, method in (("/v1/nodes/laptop/expire", "POST"), ("/v1/nodes/laptop", "DELETE")):
        async with Node(server.url, server.pin) as node:
            await node.register(key["key"], hostname="laptop")
            await node.mapped()
            await call(server, method, path)
            assert (await node.until("error"))["final"]
        async with node:
            await node.send("hello", **node.hello_fields())
            assert (await node.receive())["code"] == "authentication"
        if method == "POST":
            await call(server, "DELETE", "/v1/nodes/laptop")
