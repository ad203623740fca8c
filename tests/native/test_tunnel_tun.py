"""TUN devices in two network namespaces: the system's own ping and TCP go through."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.native.mesh import ALLOW_ALL, addresses
from tests.native.namespaces import RemoteTunnel, ip, needs_root, run_in, two_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [needs_root, pytest.mark.netns]

SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], 8000), family=socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
print('ready', flush=True)
while True:
    connection, _ = server.accept()
    with connection:
        size = int(connection.recv(100))
        connection.sendall(bytes(range(256)) * (size // 256))
"""

CLIENT = """
import socket, sys
size = int(sys.argv[2])
with socket.create_connection((sys.argv[1], 8000), timeout=float(sys.argv[3])) as connection:
    connection.sendall(str(size).encode())
    data = b''.join(iter(lambda: connection.recv(1 << 20), b''))
assert data == bytes(range(256)) * (size // 256), len(data)
"""


class Pair:
    """Two joined namespaces with a tunnel each."""

    def __init__(self, names: tuple[str, str], stack: ExitStack) -> None:
        self.names = names
        keys = [X25519PrivateKey.generate() for _ in names]
        self.tunnels = [stack.enter_context(RemoteTunnel(name)) for name in names]
        ports = []
        for number, (tunnel, key) in enumerate(zip(self.tunnels, keys, strict=True), start=1):
            config = {"private_key": key.private_bytes_raw().hex(), "addresses": addresses(number), "tun": "gwtest0"}
            opened = tunnel.open(json.dumps(config))
            assert opened["mode"] == "tun"
            assert opened["tun_name"] == "gwtest0"
            ports.append(opened["port"])
        self.peers = [
            {
                "id": number,
                "key": key.public_key().public_bytes_raw().hex(),
                "allowed_ips": [f"{addresses(number)[0]}/32", f"{addresses(number)[1]}/128"],
                "endpoints": [f"10.202.0.{number}:{port}"],
                "class": number,
            }
            for number, (key, port) in enumerate(zip(keys, ports, strict=True), start=1)
        ]

    def introduce(self) -> None:
        for tunnel, peer in zip(self.tunnels, reversed(self.peers), strict=True):
            tunnel.set_peers(json.dumps([peer]))
            tunnel.set_filter(ALLOW_ALL)

    @contextmanager
    def server(self, address: str) -> Iterator[None]:
        command = ["ip", "netns", "exec", self.names[1], sys.executable, "-c", SERVER, address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
            process.kill()

    def fetch(self, address: str, size: int = 1 << 20, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        return run_in(self.names[0], sys.executable, "-c", CLIENT, address, str(size), str(timeout))


@pytest.fixture
def pair() -> Iterator[Pair]:
    with two_namespaces() as names, ExitStack() as stack:
        yield Pair(names, stack)


def test_ping_and_tcp_through_devices(pair: Pair) -> None:
    pair.introduce()
    for address in addresses(2):
        result = run_in(pair.names[0], "ping", "-c", "2", "-i", "0.2", "-W", "5", address)
        assert result.returncode == 0, result.stdout + result.stderr
        # The engine's own ping does not disturb the system's.
        assert pair.tunnels[0].ping(address, 5_000) > 0
        with pair.server(address):
            result = pair.fetch(address, 16 << 20)
            assert result.returncode == 0, result.stderr
    stats = pair.tunnels[0].stats()
    assert stats["device"]["route_errors"] == 0
    assert stats["filter"]["dropped_malformed"] == 0


def test_large_pings_pass_in_fragments(pair: Pair) -> None:
    pair.introduce()
    for address in addresses(2):
        result = run_in(pair.names[0], "ping", "-c", "1", "-s", "4000", "-W", "5", address)
        assert result.returncode == 0, result.stdout + result.stderr


def test_filter_is_enforced_in_front_of_the_system(pair: Pair) -> None:
    pair.introduce()
    address = addresses(2)[0]
    rules: list[dict[str, object]] = [{"classes": [1], "protocols": [1]}]
    pair.tunnels[1].set_filter(json.dumps(rules))
    with pair.server(address):
        assert run_in(pair.names[0], "ping", "-c", "1", "-W", "5", address).returncode == 0
        assert pair.fetch(address, timeout=1).returncode != 0
        rules.append({"classes": [1], "protocols": [6], "ports": [[8000, 8000]]})
        pair.tunnels[1].set_filter(json.dumps(rules))
        assert pair.fetch(address).returncode == 0


def test_routes_and_addresses_follow(pair: Pair) -> None:
    pair.introduce()
    name = pair.names[0]
    assert "100.64.0.2 dev gwtest0" in ip("-n", name, "route")
    assert "fd7a:115c:a1e0::2 dev gwtest0" in ip("-n", name, "-6", "route")
    subnet = pair.peers[1] | {"allowed_ips": ["10.9.0.0/16", "100.64.0.2/32"]}
    pair.tunnels[0].set_peers(json.dumps([subnet]))
    assert "10.9.0.0/16 dev gwtest0" in ip("-n", name, "route")
    assert "fd7a:115c:a1e0::2 dev gwtest0" not in ip("-n", name, "-6", "route")
    pair.tunnels[0].set_addresses(["100.64.0.9"], 0)
    shown = ip("-n", name, "addr", "show", "gwtest0")
    assert "100.64.0.9/32" in shown
    assert "100.64.0.1/32" not in shown
    pair.tunnels[0].set_peers("[]")
    assert "gwtest0" not in ip("-n", name, "route")
    pair.tunnels[0].close()
    assert "gwtest0" not in ip("-n", name, "link")


def test_a_removed_peer_is_silent_at_once(pair: Pair) -> None:
    pair.introduce()
    address = addresses(2)[0]
    assert run_in(pair.names[0], "ping", "-c", "1", "-W", "5", address).returncode == 0
    pair.tunnels[1].set_peers("[]")
    assert run_in(pair.names[0], "ping", "-c", "1", "-W", "1", address).returncode != 0
    assert pair.tunnels[1].stats()["tunnel"]["dropped_unauthenticated"] > 0


def test_a_device_that_somebody_deletes_harms_nothing_else(pair: Pair) -> None:
    pair.introduce()
    ip("-n", pair.names[0], "link", "delete", "gwtest0")
    pair.introduce()
    assert pair.tunnels[0].stats()["peers"] == 1
    assert pair.tunnels[0].ping(addresses(2)[0], 5_000) is not None
    pair.tunnels[0].close()
