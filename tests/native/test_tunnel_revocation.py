"""What is taken away ends at once: peers, rules, and what ends by the clock. What stays goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.native.mesh import ALLOW_ALL, Node, dial_socks, echo, introduce, mesh, receive_exactly, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR = 3_600_000_000_000


@contextlib.contextmanager
def conversation(a: Node, b: Node) -> Iterator[socket.socket]:
    """A connection from a to an echo server behind b, over which something was already said."""
    with serve(echo) as port:
        b.tunnel.expose(7, str(port))
        proxy = a.tunnel.socks5("127.0.0.1:0")
        connection, code = dial_socks(proxy, b.ipv4, 7)
        assert code == 0
        with connection:
            say(connection)
            yield connection


def say(connection: socket.socket) -> None:
    connection.sendall(b"hello")
    assert receive_exactly(connection, 5) == b"hello"


def ends(connection: socket.socket) -> bool:
    """Whether the connection ends, as a reset or not, before its time-out."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def remove_here(a: Node, b: Node) -> None:
    b.tunnel.set_peers(b"[]")


def remove_there(a: Node, b: Node) -> None:
    a.tunnel.set_peers(b"[]")


def forbid(a: Node, b: Node) -> None:
    b.tunnel.set_filter(b"[]")


def quarantine(a: Node, b: Node) -> None:
    b.tunnel.set_filter(json.dumps([*json.loads(ALLOW_ALL), {"classes": [1], "deny": True}]).encode())


def change_class(a: Node, b: Node) -> None:
    b.tunnel.set_peers(json.dumps([a.as_peer() | {"class": 2}]).encode())


@pytest.mark.parametrize("act", [remove_here, remove_there, forbid, quarantine, change_class])
def test_a_running_connection_ends(act: Callable[[Node, Node], None]) -> None:
    rules = json.dumps([{"classes": [1]}]).encode()
    with mesh(rules=rules) as (a, b), conversation(a, b) as connection:
        act(a, b)
        assert ends(connection)
        assert b.stats()["flows"] <= 1
        assert a.tunnel.ping(b.ipv4, 300) is None


def test_an_address_that_changed_hands_takes_its_flows_along() -> None:
    with mesh() as (a, b), conversation(a, b) as connection:
        b.tunnel.set_peers(json.dumps([a.as_peer(allowed_ips=["100.64.0.50/32"])]).encode())
        connection.settimeout(1)
        connection.sendall(b"hello")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert b.stats()["filter"]["flows_cut"] >= 1


@pytest.mark.parametrize("what", ["rule", "peer"])
def test_what_ends_by_the_clock_ends_for_good(what: str) -> None:
    now = time.time_ns()
    rules = json.dumps([{"classes": [1], "until": now + HOUR if what == "rule" else 0}]).encode()
    with mesh(rules=rules) as (a, b):
        peers = json.dumps([a.as_peer(until=now + HOUR if what == "peer" else 0)]).encode()
        b.tunnel.set_peers(peers)
        with conversation(a, b) as connection:
            b.tunnel.tick(now + 2 * HOUR)
            assert ends(connection)
        # Neither a clock set back nor hearing of the same end once more opens it again.
        b.tunnel.tick(now)
        b.tunnel.set_peers(peers)
        b.tunnel.set_filter(rules)
        assert a.tunnel.ping(b.ipv4, 300) is None


def test_what_ends_soon_ends_by_itself() -> None:
    rules = json.dumps([{"classes": [1], "until": time.time_ns() + 1_000_000_000}]).encode()
    with mesh(rules=rules) as (a, b), conversation(a, b) as connection:
        assert ends(connection)


def test_what_stays_goes_on() -> None:
    with mesh(3) as (a, b, c), conversation(a, b) as connection:
        assert c.tunnel.ping(b.ipv4, 5_000) is not None
        handshakes = b.peer(a)["handshakes"]
        b.tunnel.set_peers(json.dumps([a.as_peer(), c.as_peer()]).encode())
        say(connection)
        b.tunnel.set_peers(json.dumps([a.as_peer()]).encode())
        say(connection)
        b.tunnel.set_filter(json.dumps([{"classes": [1], "ports": [[7, 7]]}]).encode())
        say(connection)
        assert b.peer(a)["handshakes"] == handshakes
        assert c.tunnel.ping(b.ipv4, 300) is None


def test_connections_survive_the_rotation_of_a_key() -> None:
    with mesh() as (a, b), conversation(a, b) as connection:
        a.private = X25519PrivateKey.generate().private_bytes_raw()
        a.tunnel.set_private_key(a.private)
        b.tunnel.set_peers(json.dumps([a.as_peer()]).encode())
        say(connection)
        assert a.tunnel.ping(b.ipv4, 5_000) is not None


def test_the_old_key_opens_nothing_after_a_rotation() -> None:
    with mesh() as (a, b):
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        stranger = X25519PrivateKey.generate().public_key().public_bytes_raw().hex()
        b.tunnel.set_peers(json.dumps([a.as_peer(key=stranger)]).encode())
        assert a.tunnel.ping(b.ipv4, 700) is None
        assert b.stats()["tunnel"]["dropped_unauthenticated"] > 0
        introduce(a, b)
        assert a.tunnel.ping(b.ipv4, 10_000) is not None


def test_a_peer_speaks_only_for_its_own_addresses() -> None:
    with mesh() as (a, b):
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        a.tunnel.set_addresses(["100.64.0.66"], 0)
        assert a.tunnel.ping(b.ipv4, 300) is None
        assert b.stats()["tunnel"]["dropped_source"] > 0
