"""Node sessions under generated messages: an answer or a close, never a fault, and nobody else notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import blake3
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ghostwire.coordinator.commands import CreatePreauthKey
from ghostwire.coordinator.settings import Settings
from ghostwire.errors import GhostwireError
from ghostwire.server import Limits, ServeOptions, Server
from tests.api import node as stranger
from tests.api.threaded import running
from tests.integration.recorder import Recorder
from tests.unit.server.test_errors import every_error

KNOWN = {kind.code for kind in every_error(GhostwireError)}
LIMITS = Limits(messages_per_s=100_000.0, messages_burst=100_000, failures_burst=1_000_000, unproved_s=5.0)


class Target:
    """The server, a reusable key, and a node that lives beside the fuzzed ones."""

    def __init__(self, server: Server, key: str) -> None:
        self.url, self.key = f"http://127.0.0.1:{server.port}", key

    def connect(self) -> ClientConnection:
        where = self.url.replace("http", "ws") + "/v1/session"
        return connect(where, subprotocols=["ghostwire.v1"], compression=None)

    def proof(self, challenge: dict[str, Any], purpose: str, body: bytes, private: bytes) -> dict[str, Any]:
        text = stranger.transcript(
            (
                purpose.encode(),
                challenge["network"].encode(),
                self.url.encode(),
                b"",
                challenge["key"],
                challenge["nonce"],
                stranger.public(private),
                b"",
                blake3.blake3(body).digest(),
            )
        )
        mac = stranger.prove(private, challenge["key"], text)
        return {"mac": mac, "nonce": challenge["nonce"], "origin": self.url}

    @contextmanager
    def joined(self, facts: Any) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
        """A fresh node's connection, and what it was answered to `register`."""
        private = stranger.new_private()
        with self.connect() as socket:
            challenge = read(socket)
            fields = {"node_key": stranger.public(private), "machine_key": stranger.public(stranger.new_private())}
            body = msgspec.msgpack.encode(fields | {"facts": facts, "preauth_key": self.key})
            proof = self.proof(challenge, "register", body, private)
            socket.send(msgspec.msgpack.encode({"type": "register", "body": body, "proof": proof}))
            yield socket, read(socket)


def read(socket: ClientConnection) -> dict[str, Any]:
    data = socket.recv(timeout=20)
    assert isinstance(data, bytes)
    message: dict[str, Any] = msgspec.msgpack.decode(data)
    if message["type"] == "error":
        assert message["code"] in KNOWN - {"internal", "database"}, message
    return message


def drain(socket: ClientConnection) -> None:
    """Until the coordinator answers a query or closes."""
    try:
        socket.send(msgspec.msgpack.encode({"type": "query.peers", "id": 4_000_000}))
        while True:
            message = read(socket)
            if message.get("id") == 4_000_000 or message.get("query") == 4_000_000:
                return
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        assert closed.rcvd.code not in (1006, 1011)


def until_closed(socket: ClientConnection) -> int:
    """The code with which the coordinator closes."""
    try:
        while True:
            read(socket)
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    options = ServeOptions(
        data=tmp_path_factory.mktemp("fuzz") / "server",
        settings=Settings(),
        listen="127.0.0.1:0",
        tls_off=True,
        limits=LIMITS,
    )
    recorder = Recorder()
    with running(options, recorder) as (server, loop):
        asked = server.driver.ask(lambda op: CreatePreauthKey(op=op, actor="test", user="alice", uses=None))
        key = asyncio.run_coroutine_threadsafe(asked, loop).result(30)
        yield Target(server, key.secret)
        deadline = time.monotonic() + 10
        while server.public.admission.open and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.public.admission.open == server.public.admission.unknown == 0
    assert recorder.faults == []


TYPES = [
    "register",
    "hello",
    "rotate_key",
    "challenge.request",
    "heartbeat",
    "endpoints",
    "query.peers",
    "resync",
    "bye",
    "welcome",
    "nonsense",
]
FIELDS = [
    *("body", "proof", "old_proof", "new_proof", "position", "digest", "metrics", "endpoints", "id", "node", "name"),
    *("address", "reason", "logout", "type", "mac", "nonce", "origin", "spki", "load_factor", "bytes_in"),
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=70)
    | st.sampled_from(["100.64.0.1", "fd7a:115c:a1e0::1", "laptop", "192.0.2.1:51820", "[::1]:0", "a" * 300])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=10,
)
maps = st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional=dict.fromkeys(FIELDS[:14], values))
frames = st.binary(max_size=300) | maps.map(msgspec.msgpack.encode) | values.map(msgspec.msgpack.encode)
fuzzed = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzzed
@given(sent=st.lists(frames, min_size=1, max_size=4))
def test_before_a_session(target: Target, sent: list[bytes]) -> None:
    with target.connect() as socket:
        assert read(socket)["type"] == "challenge"
        try:
            for frame in sent:
                socket.send(frame)
        except ConnectionClosed:
            return
        drain(socket)


@fuzzed
@given(sent=st.lists(frames, min_size=1, max_size=8))
def test_within_a_session(target: Target, sent: list[bytes]) -> None:
    with target.joined({"hostname": "fuzz"}) as (socket, answer):
        assert answer["type"] == "welcome"
        try:
            for frame in sent:
                socket.send(frame)
        except ConnectionClosed:
            return
        drain(socket)


texts = st.text(max_size=300) | st.sampled_from(
    ["localhost", "wpad", "_x", "a" * 64, "-", "ä.ö", "\x00\x1b[31m", "x y"]
)


@fuzzed
@given(
    facts=st.fixed_dictionaries(
        {},
        optional={
            "hostname": texts,
            "requested_name": texts,
            "node_type": st.sampled_from(["node", "relay", "exit", "coordinator", "other"]),
            "region": texts,
            "country": texts,
            "os": texts,
            "agent_version": texts,
            "routable_routes": st.lists(texts | st.sampled_from(["10.0.0.0/8", "::/0", "10.0.0.1/8"]), max_size=20),
            "metadata": st.binary(max_size=5000),
        },
    )
)
def test_facts_of_strangers(target: Target, facts: dict[str, Any]) -> None:
    with target.joined(facts) as (socket, answer):
        if answer["type"] == "error":
            assert answer["final"]
            assert answer["code"] in ("validation", "wire", "conflict")
            return
        while "self" not in (message := read(socket)).get("parts", {}):
            assert message["type"] == "netmap.full"
        own = msgspec.msgpack.decode(message["parts"]["self"])
        assert 1 <= len(own["name"]) <= 63
        assert own["name"].isascii()
        assert own["name"] not in ("localhost", "wpad", "isatap")
        socket.send(msgspec.msgpack.encode({"type": "bye", "logout": True}))
        assert until_closed(socket) == 1000
