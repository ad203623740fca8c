"""Two tunnels without a device: pings, TCP by name, what is denied and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from pathlib import Path

import pytest

from ghostwire._native import tunnel
from ghostwire.errors import UnavailableError, ValidationError
from tests.native.mesh import (
    ALLOW_ALL,
    Relay,
    dial_socks,
    echo,
    introduce,
    mesh,
    open_node,
    receive_exactly,
    send_all,
    serve,
)


def test_ping_both_families_both_ways() -> None:
    with mesh() as (a, b):
        for source, target in ((a, b), (b, a)):
            for address in (target.ipv4, target.ipv6):
                rtt = source.tunnel.ping(address, 5_000)
                assert rtt is not None
                assert rtt > 0
        assert a.peer(b)["handshakes"] >= 1
        assert a.peer(b)["endpoint"] == f"127.0.0.1:{b.tunnel.port}"
        assert a.peer(b)["rtt_ms"] > 0
        assert a.tunnel.ping("100.64.0.99", 1_000) is None
        assert a.tunnel.mode == "userspace"
        assert a.tunnel.tun_name is None


def test_a_page_through_socks_by_name() -> None:
    body = os.urandom(1_000_000)

    def page(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with mesh() as (a, b), serve(page) as port:
        b.tunnel.expose(80, f"127.0.0.1:{port}")
        a.tunnel.set_names({"web.mesh": [b.ipv4, b.ipv6]})
        proxy = a.tunnel.socks5("127.0.0.1:0")
        for host in ("web.mesh", "WEB.mesh.", b.ipv4, b.ipv6):
            connection, code = dial_socks(proxy, host, 80)
            with connection:
                assert code == 0
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                answer = b""
                while more := connection.recv(65_536):
                    answer += more
            assert hashlib.sha256(answer.partition(b"\r\n\r\n")[2]).digest() == hashlib.sha256(body).digest()


def test_forward_and_half_close() -> None:
    with mesh() as (a, b), serve(echo) as port:
        b.tunnel.expose(7, str(port))
        a.tunnel.set_names({"b": [b.ipv4]})
        local = a.tunnel.forward("127.0.0.1:0", "b", 7)
        host, _, local_port = local.rpartition(":")
        data = os.urandom(3_000_000)
        with socket.create_connection((host, int(local_port)), timeout=20) as connection:
            writer = send_all(connection, data)
            received = receive_exactly(connection, len(data))
            assert connection.recv(1) == b""
            writer.join()
        assert received == data


def test_a_bad_path_loses_and_reorders_but_not_bytes() -> None:
    with mesh() as (a, b), serve(echo) as port:
        relay = Relay(b.tunnel.port, lose=50, swap=31)
        a.tunnel.set_peers(json.dumps([b.as_peer(endpoints=[f"127.0.0.1:{relay.port}"])]).encode())
        b.tunnel.set_peers(json.dumps([a.as_peer(endpoints=[])]).encode())
        b.tunnel.expose(7, str(port))
        connection, code = dial_socks(a.tunnel.socks5("127.0.0.1:0"), b.ipv4, 7, timeout=60)
        assert code == 0
        data = os.urandom(200_000)
        with connection:
            writer = send_all(connection, data)
            assert receive_exactly(connection, len(data)) == data
            writer.join()


def test_many_connections_come_and_go_without_a_trace() -> None:
    with mesh() as (a, b), serve(echo) as port:
        b.tunnel.expose(7, str(port))
        proxy = a.tunnel.socks5("127.0.0.1:0")
        for _ in range(2):
            connections = [dial_socks(proxy, b.ipv4, 7) for _ in range(80)]
            for number, (connection, code) in enumerate(connections):
                assert code == 0
                connection.sendall(b"%06d" % number)
            for number, (connection, _) in enumerate(connections):
                assert receive_exactly(connection, 6) == b"%06d" % number
                connection.close()
        for node in (a, b):
            while node.stats()["connections"]:
                time.sleep(0.05)
        assert a.stats()["proxy"]["opened"] == b.stats()["proxy"]["opened"] == 160


def test_denied_connect_times_out_and_only_that() -> None:
    rules = json.dumps([{"prefixes": ["100.64.0.1/32"], "ports": [[80, 80]], "protocols": [6]}]).encode()
    with mesh() as (a, b), serve(echo) as port:
        b.tunnel.set_filter(rules)
        b.tunnel.expose(80, str(port))
        b.tunnel.expose(81, str(port))
        proxy = a.tunnel.socks5("127.0.0.1:0")
        connection, code = dial_socks(proxy, b.ipv4, 80)
        connection.close()
        assert code == 0
        connection, code = dial_socks(proxy, b.ipv4, 81)
        connection.close()
        assert code == 4
        assert a.tunnel.ping(b.ipv4, 300) is None
        assert b.stats()["filter"]["dropped_denied"] > 0
        # b asked nobody for leave to reach a.
        assert b.tunnel.ping(a.ipv4, 5_000) is not None


def test_what_is_no_peers_is_refused_at_once() -> None:
    with mesh() as (a, b):
        a.tunnel.set_names({"stranger": ["100.64.0.77"]})
        proxy = a.tunnel.socks5("127.0.0.1:0")
        for host, wanted in (
            ("100.64.0.77", 2),
            ("8.8.8.8", 2),
            (a.ipv4, 2),
            ("stranger", 2),
            ("unknown.example", 4),
            ("localhost", 4),
        ):
            connection, code = dial_socks(proxy, host, 80)
            connection.close()
            assert code == wanted, host
        connection, code = dial_socks(proxy, b.ipv4, 9)
        connection.close()
        assert code == 5


def test_unix_sockets_on_both_ends(tmp_path: Path) -> None:
    path = f"{tmp_path}/proxy.sock"
    with mesh() as (a, b), socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/server.sock")
        server.listen()
        b.tunnel.expose(80, f"unix:{tmp_path}/server.sock")
        proxy = a.tunnel.socks5(f"unix:{path}")
        assert proxy == f"unix:{path}"
        assert Path(path).stat().st_mode & 0o777 == 0o600
        connection, code = dial_socks(proxy, b.ipv4, 80)
        assert code == 0
        accepted, _ = server.accept()
        with connection, accepted:
            connection.sendall(b"hello")
            assert receive_exactly(accepted, 5) == b"hello"
    assert not Path(path).exists()


def test_what_passed_is_counted_by_peer_and_taken_once() -> None:
    with mesh(3) as (a, b, c):
        assert a.tunnel.take_flows() == {}
        for size in (8, 100):
            assert a.tunnel.ping(b.ipv4, 5_000, size) is not None
        # An echo is its payload, 8 bytes of ICMP and 20 of IPv4; handshakes and what WireGuard adds do not count.
        assert a.tunnel.take_flows() == {b.number: (2, 164, 2, 164)}
        assert b.tunnel.take_flows() == {a.number: (2, 164, 2, 164)}
        assert a.tunnel.take_flows() == c.tunnel.take_flows() == {}
        c.tunnel.set_filter(b"[]")
        assert a.tunnel.ping(c.ipv4, 200) is None
        assert c.tunnel.take_flows() == {}, "what is refused is no traffic"


def test_a_taken_port_makes_way() -> None:
    with mesh() as (a, _):
        other = open_node(9, port=a.tunnel.port)
        try:
            assert other.tunnel.port > a.tunnel.port
        finally:
            other.tunnel.close()


def test_close_frees_everything() -> None:
    node = open_node(1)
    proxy = node.tunnel.socks5("127.0.0.1:0")
    port = node.tunnel.port
    node.tunnel.close()
    node.tunnel.close()
    with pytest.raises(UnavailableError):
        node.tunnel.ping("100.64.0.2", 10)
    again = open_node(1, port=port)
    assert again.tunnel.port == port
    assert again.tunnel.socks5(proxy) == proxy
    again.tunnel.close()


def test_bad_input_changes_nothing() -> None:
    with mesh() as (a, b):
        for peers in (b"", b"{}", b'[{"id":1,"key":"00"}]', json.dumps([b.as_peer(), b.as_peer()]).encode()):
            with pytest.raises(ValidationError):
                a.tunnel.set_peers(peers)
        for rules in (b"[1]", b'[{"prefixes":["x"]}]', b'[{"ports":[[3,2]]}]', b'[{"nonsense":1}]'):
            with pytest.raises(ValidationError):
                a.tunnel.set_filter(rules)
        with pytest.raises(ValidationError):
            a.tunnel.socks5("0.0.0.0:0")
        with pytest.raises(ValidationError):
            a.tunnel.forward("192.0.2.1:0", "b", 80)
        with pytest.raises(ValidationError):
            a.tunnel.ping("not an address", 10)
        for config in (b"{}", b"nonsense", json.dumps({"private_key": "zz" * 32}).encode()):
            with pytest.raises(ValidationError):
                tunnel.Tunnel(config)
        assert a.tunnel.ping(b.ipv4, 5_000) is not None


def test_a_node_that_starts_later_is_met_quickly() -> None:
    a = open_node(1)
    b = open_node(2)
    try:
        a.tunnel.set_filter(ALLOW_ALL)
        b.tunnel.set_filter(ALLOW_ALL)
        # a tries while b does not know it yet.
        a.tunnel.set_peers(json.dumps([b.as_peer(keepalive=25)]).encode())
        assert a.tunnel.ping(b.ipv4, 200) is None
        introduce(a, b)
        assert a.tunnel.ping(b.ipv4, 5_000) is not None
    finally:
        a.tunnel.close()
        b.tunnel.close()
