"""Windows and access on request with real processes: the server turns them, and agents close them without it."""

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ghostwire.cli import run
from ghostwire.cli.admin import Admin
from ghostwire.testing.processes import Child
from ghostwire.wire.client_session import Event, MapChanged
from tests.integration.agents import Flow, Mesh, free_port
from tests.integration.node_client import NodeClient, credentials

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
TAGS = '"groups": {"group:dev": ["alice@"], "group:leads": ["bob@", "carol@"]}, "tagOwners": {"tag:prod": []}'
RULE = """{"name": "prod", "src": ["group:dev"], "dst": ["tag:prod", "bob@"], "ip": ["*"],
  "approvers": ["group:leads"], "longest": "1h"}"""
ASKING = f'{{{TAGS}, "acls": [], "ghostwire": {{"requests": [{RULE}]}}}}'
Ask = Callable[..., Any]


def soon(seconds: int) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A coordinator's folder, with Alice, Bob, Carol, and a tagged server."""
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        data = Path(folder) / "server"
        child = Child.start(["serve", "--data", str(data), "--listen", "127.0.0.1:0"], Path(folder) / "log")
        with child, Admin.local(data) as admin:
            child.until("ready", lambda: admin.get("/v1/status")["ready"], PATIENCE_S)
            for name in ("alice", "bob", "carol"):
                admin.post("/v1/users", {"name": name})
            yield data


@pytest.fixture
def admin(data: Path) -> Iterator[Admin]:
    """Asks the coordinator; it has no node yet."""
    with Admin.local(data) as admin:
        for node in admin.get("/v1/nodes")["nodes"]:
            admin.delete(f"/v1/nodes/{node['id']}")
        yield admin


@pytest.fixture
def ask(data: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*words: str, fails: int = 0) -> Any:
        code = run(["access", *words, "--data", str(data), "--json"])
        output = capsys.readouterr()
        assert code == fails, output
        return json.loads(output.err if code else output.out)

    return ask


@contextlib.asynccontextmanager
async def connected(admin: Admin, name: str, **owner: Any) -> Any:
    """A node that joins and stays."""
    status = admin.get("/v1/status")
    key = admin.post("/v1/preauth-keys", owner)["key"]
    async with NodeClient(status["url"], credentials(name, key), pin=status["pin"]) as node:
        await node.joined()
        yield node


async def heard(node: NodeClient) -> list[Event | None]:
    """What has come for a node that has not listened."""
    found: list[Event | None] = []
    try:
        while True:
            found.append(await asyncio.wait_for(node.step(), 0.3))
    except TimeoutError:
        return found


async def test_a_window_that_closes_reaches_those_whom_it_concerns(admin: Admin) -> None:
    grant = f'{{"src": ["alice@"], "dst": ["tag:prod"], "ip": ["tcp:80"], "expires": "{soon(4)}"}}'
    admin.put("/v1/policy", {"text": f'{{{TAGS}, "acls": [], "ghostwire": {{"grants": [{grant}]}}}}'})
    async with (
        connected(admin, "laptop", user="alice") as laptop,
        connected(admin, "db", tags=["tag:prod"]) as db,
        connected(admin, "desk", user="bob") as desk,
    ):
        await laptop.until_peers("db")
        assert [rule.until > 0 for rule in db.netmap.filter().rules] == [True]
        position = desk.netmap.position
        await laptop.until_peers()
        await db.until_peers()
        assert db.netmap.filter().rules == ()
        assert not [event for event in await heard(desk) if isinstance(event, MapChanged)]
        assert desk.netmap.position == position


async def test_from_asking_to_the_end(admin: Admin, ask: Ask) -> None:
    admin.put("/v1/policy", {"text": ASKING})
    async with (
        connected(admin, "laptop", user="alice") as laptop,
        connected(admin, "db", tags=["tag:prod"]) as db,
    ):
        asked = ("request", "db", "--ip", "tcp:22", "--ip", "icmp:*", "--for", "3s", "--reason", "INC-7")
        made = ask(*asked, "--as", "alice")
        assert (made["user"], made["target"], made["ip"], made["state"]) == (
            "alice",
            "db",
            ["icmp:*", "tcp:22"],
            "pending",
        )
        assert ask("list", "--only", "pending") == [made]
        number = str(made["id"])
        assert "approves his own" in ask("approve", number, "--as", "alice", fails=4)["message"]
        assert "digest" in ask("approve", number, "--digest", "00" * 32, "--as", "bob", fails=1)["message"]
        assert ask("approve", number, "--as", "bob")["state"] == "approved"
        await laptop.until_peers("db")
        await laptop.until_peers()
        await db.until_peers()
        (ended, *_) = ask("list")
        assert (ended["state"], ended["outcome"]) == ("ended", "its time was over")

        denied = str(ask(*asked, "--as", "alice")["id"])
        assert ask("deny", denied, "--as", "carol", "--reason", "not now")["outcome"] == "not now"
        revoked = str(ask("request", "db", "--as", "alice")["id"])
        ask("approve", revoked, "--as", "carol")
        await laptop.until_peers("db")
        assert ask("revoke", revoked, "--as", "alice")["state"] == "revoked"
        await laptop.until_peers()
        assert ask("revoke", revoked, "--as", "alice", fails=1)["code"] == "conflict"
        assert ask("request", "db", "--as", "bob", fails=4)["code"] == "permission"
        assert ask("request", "db", fails=1)["code"] == "validation"  # nobody is the owner


def test_what_people_read(admin: Admin, data: Path, ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> str:
        assert run(["access", *words, "--data", str(data)]) == 0
        return capsys.readouterr().out

    async def join() -> None:
        async with connected(admin, "db", tags=["tag:prod"]):
            pass

    admin.put("/v1/policy", {"text": ASKING})
    asyncio.run(join())
    text = told("request", "db", "--ip", "tcp:22", "--for", "30m", "--as", "alice")
    number = str(ask("list", "--only", "pending")[0]["id"])
    assert f"Access request {number} waits for bob or carol: `ghostwire access approve {number}`" in text
    assert "alice" in told("list")
    assert "alice reach db at tcp:22 for 30 min. It ends in" in told("approve", number, "--as", "bob")
    assert "Revoked: alice reach db" in told("revoke", number, "--as", "bob")
    assert "No such access request" in told("list", "--only", "approved")


def test_an_agent_closes_it_when_the_coordinator_is_gone(tmp_path: Path) -> None:
    """Granted access ends at its time at an agent whose coordinator was killed, connections that run included."""
    with Mesh(tmp_path) as mesh, socket.create_server(("127.0.0.1", 0)) as sink:
        port = free_port()
        one = mesh.agent("one").join(mesh.coordinator, "--forward", f"127.0.0.1:{port}=two:5201")
        two = mesh.agent("two").join(
            mesh.coordinator, "--expose", f"5201=127.0.0.1:{sink.getsockname()[1]}", user="bob"
        )
        with Admin.local(mesh.coordinator.data) as admin:
            admin.post("/v1/users", {"name": "carol"})
            admin.put("/v1/policy", {"text": ASKING})
            body = {"target": "two", "ip": ["*"], "duration_s": 8, "user": "alice"}
            made = admin.post("/v1/access", body)
            admin.post(f"/v1/access/{made['id']}/approve", {"digest": made["digest"], "user": "carol"})
        one.until_sees("two")
        assert one.ping("two", 30.0) is not None
        with Flow(port, sink) as flow:
            assert flow.moved.wait(PATIENCE_S)
            mesh.coordinator.kill()
            assert not flow.ended.is_set()
            assert flow.ended.wait(PATIENCE_S)
            assert one.ping("two", 1.0) is None
            assert two.status()["coordinator"]["connected"] is False
