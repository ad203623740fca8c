"""Two or more tunnels on loopback, and plain sockets around them."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ghostwire._native import tunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALLOW_ALL = json.dumps([{"prefixes": ["0.0.0.0/0", "::/0"]}]).encode()


@dataclass
class Node:
    """One node: its keys, addresses and tunnel."""

    number: int
    tunnel: tunnel.Tunnel
    private: bytes
    owner: int
    klass: int
    ipv4: str = field(init=False)
    ipv6: str = field(init=False)

    def __post_init__(self) -> None:
        self.ipv4, self.ipv6 = addresses(self.number)

    @property
    def public(self) -> str:
        return X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw().hex()

    def as_peer(self, **changes: Any) -> dict[str, Any]:
        peer = {
            "id": self.number,
            "key": self.public,
            "allowed_ips": [f"{self.ipv4}/32", f"{self.ipv6}/128"],
            "endpoints": [f"127.0.0.1:{self.tunnel.port}"],
            "class": self.klass,
            "owner": self.owner,
        }
        return peer | changes

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads(self.tunnel.stats())
        return stats

    def peer(self, other: Node) -> dict[str, Any]:
        found: dict[str, Any] = next(p for p in json.loads(self.tunnel.peers()) if p["id"] == other.number)
        return found


def addresses(number: int) -> tuple[str, str]:
    return f"100.64.0.{number}", f"fd7a:115c:a1e0::{number:x}"


def open_node(number: int, *, owner: int = 0, klass: int = 1, **config: Any) -> Node:
    private = X25519PrivateKey.generate().private_bytes_raw()
    settings = {"private_key": private.hex(), "addresses": addresses(number), "owner": owner} | config
    return Node(number, tunnel.Tunnel(json.dumps(settings).encode()), private, owner, klass)


def introduce(*nodes: Node, **changes: Any) -> None:
    for node in nodes:
        peers = [other.as_peer(**changes) for other in nodes if other is not node]
        node.tunnel.set_peers(json.dumps(peers).encode())


@contextlib.contextmanager
def mesh(count: int = 2, *, rules: bytes = ALLOW_ALL) -> Iterator[list[Node]]:
    """Nodes that know each other and allow what `rules` says."""
    nodes = [open_node(number) for number in range(1, count + 1)]
    try:
        introduce(*nodes)
        for node in nodes:
            node.tunnel.set_filter(rules)
        yield nodes
    finally:
        for node in nodes:
            node.tunnel.close()


@contextlib.contextmanager
def serve(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on loopback; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads: list[threading.Thread] = []

        def run(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                handle(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threads.append(threading.Thread(target=run, args=(connection,), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()


class Relay:
    """Passes datagrams between whoever speaks to it and one target, from a socket that can be exchanged.

    Of each direction it loses every `lose`-th datagram, and swaps every `swap`-th with the next.
    """

    def __init__(self, target: int, *, lose: int = 0, swap: int = 0) -> None:
        self.target = ("127.0.0.1", target)
        self.lose = lose
        self.swap = swap
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.client: tuple[str, int] | None = None
        self.running = True
        self.back = self.open_back()
        threading.Thread(target=self.outward, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.front.getsockname()[1]
        return port

    def open_back(self) -> socket.socket:
        back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        back.bind(("127.0.0.1", 0))
        threading.Thread(target=self.inward, args=(back,), daemon=True).start()
        return back

    def move(self) -> int:
        """Speak to the target from another port; the new one."""
        self.back = self.open_back()
        port: int = self.back.getsockname()[1]
        return port

    def worsened(self, receive: Callable[[], bytes]) -> Iterator[bytes]:
        held = None
        for number in itertools.count(1):
            data = receive()
            if not self.running or (self.lose and number % self.lose == 0):
                continue
            if self.swap and number % self.swap == 0:
                held = data
                continue
            yield data
            if held is not None:
                yield held
                held = None

    def outward(self) -> None:
        def receive() -> bytes:
            data, self.client = self.front.recvfrom(65_536)
            return data

        with contextlib.suppress(OSError):
            for data in self.worsened(receive):
                self.back.sendto(data, self.target)

    def inward(self, back: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for data in self.worsened(lambda: back.recv(65_536)):
                if self.client is not None:
                    self.front.sendto(data, self.client)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65_536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def send_all(connection: socket.socket, data: bytes) -> threading.Thread:
    """Send everything and say that it was all, in a thread that is already running."""

    def run() -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the connection ended early")
        data += more
    return data


def dial_socks(proxy: str, host: str, port: int, timeout: float = 10) -> tuple[socket.socket, int]:
    """Ask a SOCKS5 proxy for a connection by name; the socket and the reply code."""
    if proxy.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(proxy.removeprefix("unix:"))
    else:
        address, _, proxy_port = proxy.rpartition(":")
        connection = socket.create_connection((address.strip("[]"), int(proxy_port)))
    try:
        connection.settimeout(timeout)
        connection.sendall(b"\x05\x01\x00")
        if receive_exactly(connection, 2) != b"\x05\x00":
            raise ConnectionError("the proxy wants a password")
        name = host.encode()
        connection.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
        return connection, receive_exactly(connection, 10)[1]
    except BaseException:
        connection.close()
        raise
