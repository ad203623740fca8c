"""Frames from strangers: whatever comes, a message or a clear error, never anything else."""

import os

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import GhostwireError
from ghostwire.model.time import Now
from ghostwire.wire import codec, keys
from ghostwire.wire.netmap import NetMap
from ghostwire.wire.server_session import Gate, ServerSession

leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=64) | st.text()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=20,
)
types = st.sampled_from(
    ["register", "hello", "rotate_key", "challenge.request", "heartbeat", "endpoints", "query.peers", "resync", "bye"]
)
messages = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    types,
    st.dictionaries(
        st.sampled_from(["body", "proof", "old_proof", "new_proof", "position", "digest", "endpoints", "id", "node"]),
        values,
        max_size=6,
    ),
)


def session():
    gate = Gate.open("net", keys.clamp(os.urandom(32)), b"", frozenset({"http://x"}))
    return ServerSession(gate, os.urandom)


@given(st.binary(max_size=4096))
def test_bytes(data):
    server = session()
    try:
        server.receive(data, Now(0.0, 0))
    except GhostwireError as error:
        assert str(error)


@given(messages)
def test_structured_frames(message):
    server = session()
    try:
        server.receive(msgspec.msgpack.encode(message), Now(0.0, 0))
    except GhostwireError as error:
        assert str(error)


@given(st.binary(max_size=4096) | values.map(msgspec.msgpack.encode))
def test_frames_and_maps_from_a_hostile_coordinator(data):
    for read in (codec.decode_from_server, NetMap.load):
        try:
            read(data)
        except GhostwireError as error:
            assert str(error)


def test_nesting_bombs():
    bomb = b"\x91" * 60_000 + b"\xc0"
    server = session()
    for data in (bomb, b"\x81\xa4type" + bomb):
        try:
            server.receive(data, Now(0.0, 0))
        except GhostwireError as error:
            assert str(error)
