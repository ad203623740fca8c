"""Access on request over REST: in whose name it is asked for and decided, and that every way agrees on who may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ghostwire.coordinator.settings import Settings
from ghostwire.server import ServeOptions, Server
from tests.api.node import Node
from tests.api.operators import call, local, remote

POLICY = """{
  "groups": {"group:leads": ["bob@", "carol@"]},
  "tagOwners": {"tag:prod": []},
  "acls": [],
  "ghostwire": {"requests": [{
    "name": "prod", "src": ["alice@", "bob@", "owen@"], "dst": ["tag:prod"], "ip": ["tcp:22", "tcp:80"],
    "approvers": ["group:leads", "owen@"], "longest": "2h",
  }]},
}"""
ASKED: dict[str, Any] = {"target": "db", "ip": ["tcp:22"], "duration_s": 60, "reason": "INC-7"}
USERS = ("alice", "bob", "carol", "dave")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    options = ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")
    async with Server(options) as server:
        for name in USERS:
            await call(server, "POST", "/v1/users", json={"name": name})
        await call(server, "PUT", "/v1/policy", json={"text": POLICY})
        key = await call(server, "POST", "/v1/preauth-keys", json={"tags": ["tag:prod"]})
        async with Node(server.url, server.pin) as node:
            await node.register(key["key"], hostname="db")
        yield server


async def token(server: Server, scope: str, user: str | None = None) -> httpx.AsyncClient:
    body = {"name": "x", "scope": scope, "user": user}
    return remote(server, (await call(server, "POST", "/v1/tokens", json=body))["token"])


async def asked(server: Server, **changes: Any) -> Any:
    return await call(server, "POST", "/v1/access", json={**ASKED, "user": "alice", **changes})


async def test_from_asking_to_the_end(server: Server) -> None:
    async with await token(server, "write", "alice") as alice, await token(server, "write", "bob") as bob:
        made = (await alice.post("/v1/access", json=ASKED)).json()
        assert (made["user"], made["target"], made["state"], made["rule"]) == ("alice", "db", "pending", "prod")
        assert (made["approvers"], made["asked_by"]) == (["bob", "carol"], "token:1")
        path = f"/v1/access/{made['id']}"
        assert (await bob.get("/v1/access", params={"state": "pending"})).json() == {"requests": [made]}
        assert (await bob.get("/v1/access", params={"state": "approved"})).json() == {"requests": []}
        done = (await bob.post(f"{path}/approve", json={"digest": made["digest"]})).json()
        assert (done["state"], done["approver"], done["decided_by"]) == ("approved", "bob", "token:2")
        assert (await alice.post(f"{path}/revoke", json={"reason": "done"})).json()["state"] == "revoked"
        assert (await alice.get(path)).json()["outcome"] == "done"
        rows = await server.store.durable.query("SELECT kind FROM change ORDER BY seq DESC LIMIT 3")
        assert [row[0] for row in rows] == ["access.revoke", "access.approve", "access.request"]


def acts_as(scope: str, belongs: str | None, named: str | None) -> str | None:
    """Whom such a caller acts as; None where it may not, or where that is nobody."""
    if named is None or named == belongs:
        return belongs
    if scope == "socket" or (scope == "admin" and belongs in (None, "carol")):
        return named
    return None


@pytest.mark.parametrize("scope", ["read", "write", "admin", "socket"])
async def test_in_whose_name(server: Server, scope: str) -> None:
    """Every kind of caller with every name: whom it acts as, and whether that user may ask, approve, deny."""
    await call(server, "PATCH", "/v1/users/carol", json={"role": "admin"})
    async with local(server) as admin:
        for belongs in (None,) if scope == "socket" else (None, *USERS):
            async with local(server) if scope == "socket" else await token(server, scope, belongs) as client:
                for named in (None, *USERS):
                    await try_all(admin, client, (scope, belongs, named))


async def try_all(
    admin: httpx.AsyncClient, client: httpx.AsyncClient, caller: tuple[str, str | None, str | None]
) -> None:
    """Ask for access, approve it, deny it; each is done exactly by whom may."""
    scope, belongs, named = caller
    acts = acts_as(scope, belongs, named)
    rights = {
        "ask": acts in ("alice", "bob"),
        "approve": acts in ("bob", "carol") and belongs != "alice",
        "deny": acts in ("alice", "bob", "carol"),
    }
    wanted = [{**ASKED, "ip": [port], "user": "alice"} for port in ("tcp:80", "tcp:22")]
    made = [(await admin.post("/v1/access", json=body)).json() for body in wanted]
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "approve": (f"/v1/access/{made[0]['id']}/approve", {"digest": made[0]["digest"]}),
        "deny": (f"/v1/access/{made[1]['id']}/deny", {}),
        "ask": ("/v1/access", ASKED),
    }
    for act, (path, body) in bodies.items():
        response = await client.post(path, json=body if named is None else {**body, "user": named})
        # Who administers and names nobody acts as the owner, and there is none.
        nobody = 400 if scope in ("admin", "socket") and named is None and belongs is None else 403
        expected = (200, 201) if scope != "read" and rights[act] else (nobody,)
        assert response.status_code in expected, (act, caller, response.text)
    for left in (await admin.get("/v1/access", params={"state": "pending"})).json()["requests"]:
        done = await admin.post(f"/v1/access/{left['id']}/deny", json={"user": left["user"]})
        assert done.status_code == 200


async def test_who_administers_acts_as_the_owner(server: Server) -> None:
    async with local(server) as client:
        response = await client.post("/v1/access", json=ASKED)
        assert (response.status_code, "--as USER" in response.text) == (400, True)
        await call(server, "POST", "/v1/users", json={"name": "owen", "role": "owner"})
        made = (await client.post("/v1/access", json=ASKED)).json()
        assert (made["user"], made["approvers"]) == ("owen", ["bob", "carol"])
        refused = await client.post(f"/v1/access/{made['id']}/approve", json={"digest": made["digest"]})
        assert (refused.status_code, "nobody approves his own" in refused.text) == (403, True)
        by_alice = await asked(server)
        approved = await client.post(f"/v1/access/{by_alice['id']}/approve", json={"digest": by_alice["digest"]})
        assert approved.json()["approver"] == "owen"
        await call(server, "POST", "/v1/users", json={"name": "olga", "role": "owner"})
        assert (await client.post("/v1/access", json=ASKED)).status_code == 400


async def test_a_token_ends_with_its_user(server: Server) -> None:
    async with await token(server, "write", "dave") as dave:
        assert (await dave.get("/v1/access")).status_code == 200
        listed = (await call(server, "GET", "/v1/tokens"))["tokens"]
        assert [found["user"] for found in listed] == ["dave"]
        await call(server, "DELETE", "/v1/users/dave")
        assert (await dave.get("/v1/access")).status_code == 401
    async with local(server) as client:
        body = {"name": "x", "scope": "read", "user": "nobody"}
        assert (await client.post("/v1/tokens", json=body)).status_code == 404


NONSENSE: list[dict[str, Any]] = [
    {},
    {"target": "db"},
    {**ASKED, "ip": []},
    {**ASKED, "ip": ["tcp:22"] * 17},
    {**ASKED, "ip": ["tcp:0-70000"]},
    {**ASKED, "duration_s": 0},
    {**ASKED, "duration_s": 7201},
    {**ASKED, "duration_s": 1.5},
    {**ASKED, "reason": "x" * 1025},
    {**ASKED, "unknown": 1},
]


async def test_what_makes_no_sense_is_refused(server: Server) -> None:
    async with local(server) as client:
        for body in NONSENSE:
            response = await client.post("/v1/access", json={**body, "user": "alice"})
            assert response.status_code == 400, response.text
        for digest in ("", "00", "zz" * 32, "00" * 33):
            response = await client.post("/v1/access/1/approve", json={"digest": digest})
            assert response.status_code == 400
    assert (await call(server, "GET", "/v1/access"))["requests"] == []
