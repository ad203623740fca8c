"""Both ends of a session against each other: proofs, challenges, order of frames."""

import os

import msgspec
import pytest

from ghostwire.errors import AuthenticationError, GhostwireError, UnavailableError, ValidationError, WireError
from ghostwire.model.node import NodeFacts
from ghostwire.model.position import Position
from ghostwire.model.time import Now
from ghostwire.wire import codec, keys
from ghostwire.wire.client_session import ClientSession, Credentials
from ghostwire.wire.messages import (
    ChallengeRequest,
    Heartbeat,
    HeartbeatAck,
    Hello,
    HelloBody,
    Register,
    RegisterBody,
    Resync,
    RotateBody,
    RotateKey,
    Welcome,
)
from ghostwire.wire.netmap import NetMap
from ghostwire.wire.server_session import Gate, ServerSession

ORIGIN = "https://mesh.example:8443"
SPKI = bytes(range(32))
START = Now(10.0, 0)


def gate(spki=SPKI, origins=frozenset(), private=None, network="net"):
    return Gate.open(network, private or keys.clamp(os.urandom(32)), spki, origins)


def client(private=None, spki=SPKI, origin=ORIGIN, **credentials):
    private = private or keys.clamp(os.urandom(32))
    machine = keys.public_key(keys.clamp(os.urandom(32)))
    return ClientSession(
        Credentials(node_private=private, machine_key=machine, facts=NodeFacts(hostname="h"), **credentials),
        NetMap(),
        origin,
        spki,
    )


def exchange(server, node, now=START):
    """One challenge and what the node answers to it."""
    assert node.receive(server.challenge(now)) is None
    frame = node.poll_transmit()
    assert frame is not None
    return frame


def welcomed(server, node, now=START):
    server.receive(exchange(server, node, now), now)
    server.establish(keys.public_key(node.credentials.node_private))
    node.receive(codec.encode(Welcome(token="t", node=1, session=1, heartbeat_s=30.0, utc=0)))


def test_register_and_hello_are_proved():
    server, node = ServerSession(gate(), os.urandom), client(preauth_key="secret")
    body = server.receive(exchange(server, node), START)
    assert isinstance(body, RegisterBody)
    assert body.preauth_key == "secret"
    server, node = ServerSession(gate(), os.urandom), client(token="token")
    body = server.receive(exchange(server, node), START)
    assert isinstance(body, HelloBody)
    assert body.token == "token"
    assert body.resume is None


def test_a_nonce_opens_once():
    server, node = ServerSession(gate(), os.urandom), client()
    frame = exchange(server, node)
    server.receive(frame, START)
    with pytest.raises(UnavailableError, match="fresh"):
        server.receive(frame, START)


def test_a_challenge_lapses_after_sixty_seconds():
    for age, accepted in ((60.0, True), (60.001, False)):
        server, node = ServerSession(gate(), os.urandom), client()
        frame = exchange(server, node)
        late = Now(START.mono + age, 0)
        if accepted:
            server.receive(frame, late)
        else:
            with pytest.raises(UnavailableError, match="60 s"):
                server.receive(frame, late)


def test_challenges_are_bounded():
    server, node = ServerSession(gate(), os.urandom), client()
    frame = exchange(server, node)
    for _ in range(4):
        server.challenge(START)
    with pytest.raises(UnavailableError):
        server.receive(frame, START)


def test_a_man_in_the_middle_cannot_relay_a_proof():
    shared = keys.clamp(os.urandom(32))
    server = ServerSession(gate(private=shared), os.urandom)
    node = client(spki=bytes(32))
    with pytest.raises(UnavailableError, match="certificate"):
        server.receive(exchange(server, node), START)


def test_without_tls_only_public_origins_are_served():
    origins = frozenset({ORIGIN})
    server, node = ServerSession(gate(b"", origins), os.urandom), client(spki=b"")
    server.receive(exchange(server, node), START)
    server, node = ServerSession(gate(b"", origins), os.urandom), client(spki=b"", origin="https://evil.example")
    with pytest.raises(UnavailableError, match="public_urls"):
        server.receive(exchange(server, node), START)


@pytest.mark.parametrize("field", ["mac", "nonce", "origin", "spki"])
def test_a_changed_proof_is_refused(field):
    server, node = ServerSession(gate(), os.urandom), client()
    message = codec.decode_from_node(exchange(server, node))
    old = getattr(message.proof, field)
    changed = old + "x" if isinstance(old, str) else bytes([old[0] ^ 1]) + old[1:]
    proof = msgspec.structs.replace(message.proof, **{field: changed})
    with pytest.raises(AuthenticationError if field in {"mac", "origin"} else UnavailableError):
        server.receive(codec.encode(msgspec.structs.replace(message, proof=proof)), START)


def test_a_changed_body_is_refused():
    server, node = ServerSession(gate(), os.urandom), client(preauth_key="one")
    message = codec.decode_from_node(exchange(server, node))
    body = msgspec.structs.replace(codec.decode_register(message.body), preauth_key="two")
    with pytest.raises(AuthenticationError, match="proof"):
        server.receive(codec.encode(msgspec.structs.replace(message, body=codec.encode(body))), START)


def test_a_register_is_not_a_hello():
    server, node = ServerSession(gate(), os.urandom), client()
    hello = codec.decode_from_node(exchange(server, node))
    assert isinstance(hello, Hello)
    with pytest.raises(GhostwireError):
        server.receive(codec.encode(Register(body=hello.body, proof=hello.proof)), START)


def test_another_networks_proof_is_refused():
    private = keys.clamp(os.urandom(32))
    here, there = (ServerSession(gate(private=private, network=name), lambda n: bytes(n)) for name in ("here", "there"))
    node = client()
    frame = exchange(there, node)
    here.challenge(START)
    with pytest.raises(AuthenticationError, match="proof"):
        here.receive(frame, START)


def test_rotation_needs_both_keys():
    server, node = ServerSession(gate(), os.urandom), client()
    welcomed(server, node)
    new = keys.clamp(os.urandom(32))
    node.rotate(new)
    assert isinstance(server.receive(node.poll_transmit(), START), ChallengeRequest)
    frame = exchange(server, node)
    message = codec.decode_from_node(frame)
    assert isinstance(message, RotateKey)
    swapped = RotateKey(body=message.body, old_proof=message.old_proof, new_proof=message.old_proof)
    with pytest.raises(AuthenticationError):
        server.receive(codec.encode(swapped), START)
    node.rotate(new)
    node.poll_transmit()
    body = server.receive(exchange(server, node), START)
    assert isinstance(body, RotateBody)
    assert body.new_key == keys.public_key(new)


def test_frames_wait_for_the_session():
    server, node = ServerSession(gate(), os.urandom), client()
    with pytest.raises(WireError, match="comes first"):
        server.receive(codec.encode(Heartbeat()), START)
    welcomed(server, node)
    assert isinstance(server.receive(codec.encode(Resync()), START), Resync)
    hello = HelloBody(node_key=keys.public_key(node.credentials.node_private))
    again = client()
    again.receive(server.challenge(START))
    with pytest.raises(WireError, match="already"):
        server.receive(again.poll_transmit(), START)
    assert hello.token is None


def test_an_acknowledged_heartbeat_moves_the_position_of_a_map_that_is_held():
    server, node = ServerSession(gate(), os.urandom), client()
    welcomed(server, node)
    first, second = Position(b"l" * 16, 4, b"b" * 16, 2), Position(b"l" * 16, 4, b"b" * 16, 9)
    node.receive(codec.encode(HeartbeatAck(utc=1, position=second)))
    assert node.netmap.position is None
    node.netmap.position = first
    node.receive(codec.encode(HeartbeatAck(utc=1)))
    assert node.netmap.position == first
    node.receive(codec.encode(HeartbeatAck(utc=1, position=second)))
    assert node.netmap.position == second


def test_low_order_keys_are_refused_before_any_proof():
    server, node = ServerSession(gate(), os.urandom), client()
    message = codec.decode_from_node(exchange(server, node))
    body = codec.encode(HelloBody(node_key=bytes(32)))
    with pytest.raises(ValidationError, match="low order"):
        server.receive(codec.encode(msgspec.structs.replace(message, body=body)), START)


def test_secrets_do_not_show():
    private = keys.clamp(os.urandom(32))
    node = client(private=private, preauth_key="hush-hush")
    shown = repr(node.credentials) + repr(gate(private=private))
    assert "hush" not in shown
    assert private.hex() not in shown
    assert repr(private) not in shown
