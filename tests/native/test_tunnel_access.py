"""Who may use the proxies of an agent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.native.mesh import dial_socks, echo, mesh, receive_exactly, serve

STRANGER = 65_534

CALLER = """
import socket, sys
family = socket.AF_UNIX if sys.argv[1].startswith('/') else socket.AF_INET
connection = socket.socket(family)
host, _, port = sys.argv[1].rpartition(':')
connection.connect(sys.argv[1] if family == socket.AF_UNIX else (host, int(port)))
connection.settimeout(10)
try:
    connection.sendall(bytes.fromhex(sys.argv[2]))
    print(connection.recv(100).hex())
except ConnectionError:
    print()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def call_as_stranger(address: str, said: bytes) -> bytes:
    """What a process of another user gets as the first answer."""
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-I", "-c", CALLER, address, said.hex()],
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return bytes.fromhex(done.stdout.strip())


@as_root
def test_other_users_are_turned_away() -> None:
    with mesh() as (a, b):
        proxy = a.tunnel.socks5("127.0.0.1:0")
        assert call_as_stranger(proxy, b"\x05\x01\x00") == b""
        assert a.stats()["proxy"]["refused_callers"] == 1
        with serve(echo) as port:
            b.tunnel.expose(7, str(port))
            forward = a.tunnel.forward("127.0.0.1:0", b.ipv4, 7)
            assert call_as_stranger(forward, b"hello") == b""
            host, _, local = forward.rpartition(":")
            with socket.create_connection((host, int(local))) as own:
                own.sendall(b"hello")
                assert receive_exactly(own, 5) == b"hello"


@as_root
def test_an_open_proxy_serves_all() -> None:
    with mesh() as (a, _):
        proxy = a.tunnel.socks5("0.0.0.0:0", True)
        assert call_as_stranger(proxy.replace("0.0.0.0", "127.0.0.1"), b"\x05\x01\x00") == b"\x05\x00"


@as_root
def test_a_password_replaces_the_user() -> None:
    with mesh() as (a, _):
        proxy = a.tunnel.socks5("127.0.0.1:0", False, "al:secret")
        assert call_as_stranger(proxy, b"\x05\x01\x00") == b"\x05\xff"
        assert call_as_stranger(proxy, b"\x05\x01\x02") == b"\x05\x02"


def test_the_right_password_and_the_wrong_one() -> None:
    with mesh() as (a, b), serve(echo) as port:
        b.tunnel.expose(7, str(port))
        proxy = a.tunnel.socks5("127.0.0.1:0", credentials="al:secret")
        host, _, proxy_port = proxy.rpartition(":")
        for password, wanted in ((b"secret", b"\x01\x00"), (b"wrong", b"\x01\x01")):
            with socket.create_connection((host, int(proxy_port)), timeout=10) as connection:
                connection.sendall(b"\x05\x01\x02")
                assert receive_exactly(connection, 2) == b"\x05\x02"
                connection.sendall(b"\x01\x02al" + bytes([len(password)]) + password)
                assert receive_exactly(connection, 2) == wanted
                if wanted == b"\x01\x01":
                    assert connection.recv(1) == b""
        with pytest.raises(ConnectionError):
            dial_socks(proxy, b.ipv4, 7)


def test_what_is_no_socks_is_hung_up_on() -> None:
    with mesh() as (a, _):
        host, _, port = a.tunnel.socks5("127.0.0.1:0").rpartition(":")
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", bytes(range(256))):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(said)
                try:
                    assert connection.recv(100) in {b"", b"\x05\xff"}
                except ConnectionResetError:
                    assert sys.platform == "linux"


def test_udp_and_bind_are_refused() -> None:
    with mesh() as (a, _):
        host, _, port = a.tunnel.socks5("127.0.0.1:0").rpartition(":")
        for command in (2, 3):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(b"\x05\x01\x00" + bytes([5, command, 0, 1, 127, 0, 0, 1, 0, 80]))
                assert receive_exactly(connection, 12)[3] == 7
