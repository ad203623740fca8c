"""Where a peer is: several candidates, roaming, paths that die."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.native.mesh import ALLOW_ALL, Node, Relay, introduce, mesh, open_node

if TYPE_CHECKING:
    from collections.abc import Iterator


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def dead_port() -> int:
    """A port that swallows what it gets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def reached_by(*ports: int | None) -> Iterator[tuple[Node, Node]]:
    """a knows b at these ports (None: its own), b knows nothing of where a is."""
    with mesh() as (a, b):
        endpoints = [f"127.0.0.1:{port or b.tunnel.port}" for port in ports]
        a.tunnel.set_peers(json.dumps([b.as_peer(endpoints=endpoints)]).encode())
        b.tunnel.set_peers(json.dumps([a.as_peer(endpoints=[])]).encode())
        yield a, b


def test_the_candidate_that_answers_is_used() -> None:
    with reached_by(dead_port(), dead_port(), None) as (a, b):
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        assert a.peer(b)["endpoint"] == f"127.0.0.1:{b.tunnel.port}"
        assert a.peer(b)["handshakes"] == 1
        # b learned from a's packets where a is.
        assert b.tunnel.ping(a.ipv6, 5_000) is not None
        assert b.peer(a)["endpoint"] == f"127.0.0.1:{a.tunnel.port}"


def test_a_peer_that_roams_is_followed() -> None:
    with mesh() as (a, b):
        relay = Relay(b.tunnel.port)
        a.tunnel.set_peers(json.dumps([b.as_peer(endpoints=[f"127.0.0.1:{relay.port}"])]).encode())
        b.tunnel.set_peers(json.dumps([a.as_peer(endpoints=[])]).encode())
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        moved = relay.move()
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        assert b.peer(a)["endpoint"] == f"127.0.0.1:{moved}"
        assert b.tunnel.ping(a.ipv4, 5_000) is not None
        assert a.peer(b)["handshakes"] == 1


def test_news_of_another_endpoint_is_tried_at_once() -> None:
    with mesh() as (a, b):
        relay = Relay(b.tunnel.port)
        a.tunnel.set_peers(json.dumps([b.as_peer(endpoints=[f"127.0.0.1:{relay.port}"])]).encode())
        b.tunnel.set_peers(json.dumps([a.as_peer(endpoints=[])]).encode())
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        relay.running = False
        assert a.tunnel.ping(b.ipv4, 300) is None
        introduce(a, b)
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        assert a.peer(b)["endpoint"] == f"127.0.0.1:{b.tunnel.port}"


@pytest.mark.slow
def test_another_candidate_takes_over_from_one_that_died() -> None:
    with mesh() as (a, b):
        relay = Relay(b.tunnel.port)
        both = [f"127.0.0.1:{relay.port}", f"127.0.0.1:{b.tunnel.port}"]
        b.tunnel.set_peers(json.dumps([a.as_peer(endpoints=[])]).encode())
        a.tunnel.set_peers(json.dumps([b.as_peer(endpoints=both[:1])]).encode())
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        a.tunnel.set_peers(json.dumps([b.as_peer(endpoints=both)]).encode())
        relay.running = False
        # WireGuard notices after fifteen seconds of silence.
        assert any(a.tunnel.ping(b.ipv4, 1_000) is not None for _ in range(60))
        assert a.peer(b)["endpoint"] == both[1]


def test_a_node_that_comes_back_elsewhere_is_found() -> None:
    with mesh() as (a, b):
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        b.tunnel.close()
        again = open_node(2, private_key=b.private.hex())
        try:
            again.tunnel.set_peers(json.dumps([a.as_peer()]).encode())
            assert again.tunnel.ping(a.ipv4, 5_000) is not None
            assert a.peer(again)["endpoint"] == f"127.0.0.1:{again.tunnel.port}"
        finally:
            again.tunnel.close()


def test_a_restarted_peer_offers_a_new_session_to_those_who_use_the_old() -> None:
    with mesh() as (a, b):
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        port = b.tunnel.port
        b.tunnel.close()
        again = open_node(2, private_key=b.private.hex(), port=port)
        try:
            assert again.tunnel.port == port
            again.tunnel.set_filter(ALLOW_ALL)
            again.tunnel.set_peers(json.dumps([a.as_peer()]).encode())
            # Without the offer a would wait for fifteen seconds of silence.
            assert a.tunnel.ping(b.ipv4, 8_000) is not None
        finally:
            again.tunnel.close()


def test_keepalives_begin_and_keep_a_session() -> None:
    with mesh() as (a, b):
        before = a.peer(b)["tx_bytes"]
        a.tunnel.set_peers(json.dumps([b.as_peer(keepalive=1)]).encode())
        event = threading.Event()
        while a.peer(b)["handshakes"] < 1 or a.peer(b)["tx_bytes"] < before + 148 + 2 * 32:
            assert not event.wait(0.05)
        assert b.peer(a)["last_handshake_s"] is not None


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback")
def test_both_families_carry_the_tunnel() -> None:
    with mesh() as (a, b):
        a.tunnel.set_peers(json.dumps([b.as_peer(endpoints=[f"[::1]:{b.tunnel.port}"])]).encode())
        b.tunnel.set_peers(json.dumps([a.as_peer(endpoints=[])]).encode())
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
        assert a.peer(b)["endpoint"] == f"[::1]:{b.tunnel.port}"
