"""docs/protocol.md lets a stranger write a node: the one in `node.py` passes its vectors and lives in a real net."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import websockets

from ghostwire.coordinator.settings import Settings
from ghostwire.errors import ValidationError
from ghostwire.server import ServeOptions, Server
from ghostwire.wire import codec
from ghostwire.wire.keys import Agreement, validate_public_key
from ghostwire.wire.proof import Transcript, check
from tests.api import node as stranger
from tests.api import packing as strange_packing
from tests.api.operators import call
from tests.data.vectors import make_protocol

VECTORS: dict[str, Any] = json.loads(Path(make_protocol.__file__).with_name("protocol.json").read_text())


def test_the_stranger_imports_nothing_of_the_product() -> None:
    tree = ast.parse(Path(stranger.__file__).read_text())
    names = {alias.name for part in ast.walk(tree) if isinstance(part, ast.Import) for alias in part.names}
    names |= {part.module or "" for part in ast.walk(tree) if isinstance(part, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= {
        "__future__",
        "blake3",
        "cryptography",
        "hashlib",
        "msgspec",
        "os",
        "ssl",
        "types",
        "typing",
        "websockets",
    }


def test_the_file_is_what_the_product_says_now() -> None:
    assert json.loads(json.dumps(make_protocol.vectors())) == VECTORS


@pytest.mark.parametrize("case", VECTORS["proofs"], ids=lambda case: f"{case['purpose']} {case['origin']}")
def test_proofs(case: dict[str, str]) -> None:
    raw = {name: bytes.fromhex(value) for name, value in case.items() if name not in ("purpose", "network", "origin")}
    assert stranger.agree(raw["private"], raw["challenge_key"]) == raw["secret"]
    text = stranger.transcript(
        (
            case["purpose"].encode(),
            case["network"].encode(),
            case["origin"].encode(),
            raw["spki"],
            raw["challenge_key"],
            raw["nonce"],
            raw["node_key"],
            raw["new_key"],
            stranger.blake3.blake3(raw["body"]).digest(),
        )
    )
    assert text == raw["transcript"]
    mac = stranger.prove(raw["private"], raw["challenge_key"], text)
    assert mac == raw["mac"]
    names = ("spki", "challenge_key", "nonce", "node_key", "new_key", "body")
    fields = {name: raw[name] for name in names}
    seen = Transcript(purpose=case["purpose"], network=case["network"], origin=case["origin"], **fields)  # type: ignore[arg-type]
    check(seen, Agreement(raw["challenge_private"]), mac)


@pytest.mark.parametrize("case", VECTORS["refused_keys"], ids=lambda case: case["why"])
def test_refused_keys(case: dict[str, str]) -> None:
    key = bytes.fromhex(case["key"])
    with pytest.raises(ValueError):
        stranger.check_key(key)
    with pytest.raises(ValidationError):
        validate_public_key(key)


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["type"])
def test_messages(case: dict[str, Any]) -> None:
    fields = raw(case["fields"])
    data = bytes.fromhex(case["bytes"])
    assert msgspec.msgpack.decode(data) == {"type": case["type"], **fields}
    own = msgspec.msgpack.encode({"type": case["type"], **fields})
    for decode in (codec.decode_from_node, codec.decode_from_server):
        try:
            message = decode(data)
        except codec.WireError:
            continue
        assert decode(own) == message
        break
    else:
        pytest.fail("the product reads its own message in neither direction")


def raw(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {int(key) if key.isdigit() else key: raw(part) for key, part in value.items()}
    return [raw(part) for part in value] if isinstance(value, list) else value


def test_the_map() -> None:
    held = stranger.Map()
    for step in VECTORS["map"]:
        held.take(msgspec.msgpack.decode(bytes.fromhex(step["bytes"])))
        assert held.position == raw(step["position"])
        if step["digest"] is not None:
            assert held.digest.hex() == step["digest"]
            assert sorted(held.peers) == step["peers"]


@pytest.mark.parametrize("case", VECTORS["packing"]["messages"], ids=lambda case: str(len(case["plain"])))
def test_packed_messages(case: dict[str, str]) -> None:
    dictionary = bytes.fromhex(VECTORS["packing"]["dictionary"])
    assert stranger.blake3.blake3(dictionary).digest()[:8].hex() == VECTORS["packing"]["name"]
    plain = msgspec.msgpack.decode(bytes.fromhex(case["plain"]), strict=False)
    assert strange_packing.unpack(bytes.fromhex(case["packed"]), dictionary) == plain


# In a real network.


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    options = ServeOptions(data=tmp_path / "server", settings=Settings(), listen="127.0.0.1:0")
    async with Server(options) as server:
        yield server


async def make_key(server: Server, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await call(server, "POST", "/v1/preauth-keys", json={"user": "alice"} | more)
    return made


async def test_a_stranger_registers_resumes_and_rotates_its_key(server: Server) -> None:
    key = await make_key(server, uses=2)
    node, other = stranger.Node(key["server"], key["pin"]), stranger.Node(key["server"], key["pin"])
    async with node:
        welcome = await node.register(key["key"], hostname="stranger", os="plan9")
        assert await node.mapped() == "netmap.full"
        assert node.map.own["id"] == welcome["node"]
        assert node.map.own["name"] == "stranger"
        async with other:
            await other.register(key["key"], hostname="other")
            await other.mapped()
            assert [peer["name"] for peer in other.map.peers.values()] == ["stranger"]
            while not node.map.peers:
                await node.receive()
            assert [peer["name"] for peer in node.map.peers.values()] == ["other"]
            await node.send("endpoints", endpoints=["192.0.2.1:51820"])
            await node.send("query.peers", id=1, name="other")
            answer = await node.until("answer")
            assert msgspec.msgpack.decode(answer["peers"][0])["name"] == "other"
            await node.send("heartbeat", position=node.map.position, digest=node.map.digest)
            await node.until("heartbeat.ack")
            await node.rotate()
            wanted = stranger.public(node.private)
            while other.map.peers[node.number]["key"] != wanted:
                await other.receive()
            assert other.map.peers[node.number]["endpoints"] == ["192.0.2.1:51820"]
            while node.map.own["key"] != wanted:
                await node.receive()
            await node.socket.close()
            async with node:
                await node.hello()
                assert await node.mapped() in ("netmap.unchanged", "netmap.delta")
                seen = await call(server, "GET", "/v1/nodes/stranger/netmap")
                assert seen["digest"] == node.map.digest.hex()
                node.token = None
            async with node:
                assert (await node.hello())["node"] == node.number


async def test_a_proof_for_another_request_is_refused(server: Server) -> None:
    key = await make_key(server)
    node = stranger.Node(key["server"], key["pin"])
    async with node:
        body = msgspec.msgpack.encode(
            {"node_key": stranger.public(node.private), "machine_key": node.machine_key, "facts": {}}
        )
        await node.send("register", body=body, proof=node.proof("hello", body, node.private))
        refused = await node.receive()
        assert (refused["type"], refused["code"], refused["final"]) == ("error", "authentication", True)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await node.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


async def test_a_token_alone_opens_nothing(server: Server) -> None:
    key = await make_key(server)
    node, thief = stranger.Node(key["server"], key["pin"]), stranger.Node(key["server"], key["pin"])
    async with node:
        await node.register(key["key"])
        await node.mapped()
        async with thief:
            body = msgspec.msgpack.encode({"node_key": stranger.public(node.private), "token": node.token})
            await thief.send("hello", body=body, proof=thief.proof("hello", body, thief.private))
            assert (await thief.receive())["code"] == "authentication"
