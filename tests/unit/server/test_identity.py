"""How a server is called, and what follows: under which names it answers, and which no node may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire.coordinator.settings import Settings
from ghostwire.errors import PermissionDeniedError
from ghostwire.server import ServeOptions, Server
from ghostwire.server.identity import Naming
from ghostwire.server.listen.hosts import Doors
from tests.api.node import Node
from tests.api.operators import call, local


def naming(tmp_path: Path, listen: str, *urls: str) -> Naming:
    return Naming.of(ServeOptions(data=tmp_path, settings=Settings(), listen=listen, public_urls=urls))


@pytest.mark.parametrize("listen", ["Box.lan:8443", "box.lan:443"])
def test_it_answers_to_the_name_that_join_commands_show(tmp_path: Path, listen: str) -> None:
    named = naming(tmp_path, listen)
    doors = Doors(named.answers_to(), ())
    host = named.advertised().url.removeprefix("https://").encode()
    doors.admit([(b"host", host), (b"origin", b"https://" + host.lower())], "https")
    with pytest.raises(PermissionDeniedError):
        doors.admit([(b"host", b"other.lan:8443")], "https")


def test_the_wildcard_address_is_no_name(tmp_path: Path) -> None:
    named = naming(tmp_path, "0.0.0.0:8443", "https://mesh.example.com")
    assert named.answers_to() == {"https://mesh.example.com"}


def test_its_own_names_are_reserved(tmp_path: Path) -> None:
    urls = ("https://mesh.example.com:8443", "https://192.0.2.1", "https://[2001:db8::1]", "https://hub")
    settings = naming(tmp_path, "Box.lan:1", *urls).reserving(Settings(reserved_names=("kept",)))
    assert settings.reserved_names == ("kept", "mesh", "hub", "box")
    assert naming(tmp_path, "127.0.0.1:1").reserving(Settings()) == Settings()


async def test_no_node_takes_the_servers_own_name(tmp_path: Path) -> None:
    options = ServeOptions(
        data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0", public_urls=("https://mesh.example.com",)
    )
    async with Server(options) as server:
        key = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"})
        async with Node(f"https://127.0.0.1:{server.port}", key["pin"]) as node:
            await node.register(key["key"], hostname="mesh.lan")
        (listed,) = (await call(server, "GET", "/v1/nodes"))["nodes"]
        assert listed["name"] == "node"
        async with local(server) as client:
            refused = await client.patch("/v1/nodes/node", json={"name": "mesh"})
        assert (refused.status_code, refused.json()["code"]) == (400, "validation")
