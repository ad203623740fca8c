"""Throughput of one tunnel between two processes, beside plain loopback TCP in the same run.

`python bench/tunnel.py` downloads through SOCKS5 over two rootless tunnels; `--tun` sends between two namespaces with
TUN devices (root, and `iperf3` if it is installed). Prints one line of JSON a measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ghostwire import _native
from tests.native import wireguard_go
from tests.native.mesh import ALLOW_ALL, addresses, dial_socks
from tests.native.namespaces import RemoteTunnel, ip, two_namespaces

EXPOSED = 8099

SERVER = """
import os, socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print(server.getsockname()[1], flush=True)
with open('/dev/shm/gw-bench-%d' % os.getpid(), 'w+b') as file:
    os.unlink(file.name)
    file.truncate(64 << 20)
    while True:
        connection, _ = server.accept()
        with connection:
            size = int(connection.recv(100))
            while size:
                sent = os.sendfile(connection.fileno(), file.fileno(), 0, min(size, 64 << 20))
                size -= sent
"""

CLIENT = """
import socket, sys, time
size = int(sys.argv[3])
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    began = time.perf_counter()
    connection.sendall(str(size).encode())
    buffer = bytearray(1 << 20)
    left = size
    while left and (got := connection.recv_into(buffer)):
        left -= got
    print(size * 8e-9 / (time.perf_counter() - began) if not left else 0.0)
"""


def start_server(stack: ExitStack, *prefix: str, address: str = "127.0.0.1", port: int = 0) -> int:
    command = [*prefix, sys.executable, "-c", SERVER, address, str(port)]
    process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    assert process.stdout is not None
    return int(process.stdout.readline())


def download(connection: socket.socket, size: int) -> float:
    """Gbit/s of one download."""
    buffer = bytearray(1 << 20)
    began = time.perf_counter()
    connection.sendall(str(size).encode())
    left = size
    while left:
        received = connection.recv_into(buffer)
        if not received:
            raise ConnectionError(f"the download ended {left} bytes early")
        left -= received
    return size * 8e-9 / (time.perf_counter() - began)


def open_pair(stack: ExitStack, hosts: list[str], namespaces: list[str | None], tun: str | None) -> list[RemoteTunnel]:
    keys = [X25519PrivateKey.generate() for _ in hosts]
    tunnels = [stack.enter_context(RemoteTunnel(namespace)) for namespace in namespaces]
    peers = []
    for number, (tunnel, key, host) in enumerate(zip(tunnels, keys, hosts, strict=True), start=1):
        config = {"private_key": key.private_bytes_raw().hex(), "addresses": addresses(number), "tun": tun}
        opened = tunnel.open(json.dumps(config))
        peers.append(
            {
                "id": number,
                "key": key.public_key().public_bytes_raw().hex(),
                "allowed_ips": [f"{address}/{32 if '.' in address else 128}" for address in addresses(number)],
                "endpoints": [f"{host}:{opened['port']}"],
            }
        )
    for tunnel, peer in zip(tunnels, reversed(peers), strict=True):
        tunnel.set_peers(json.dumps([peer]))
        tunnel.set_filter(ALLOW_ALL)
    return tunnels


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_download(stack: ExitStack) -> tuple[int, str, list[RemoteTunnel]]:
    """A server behind one of two rootless tunnels: its port, the other tunnel's proxy, both tunnels."""
    port = start_server(stack)
    tunnels = open_pair(stack, ["127.0.0.1", "127.0.0.1"], [None, None], None)
    tunnels[1].expose(EXPOSED, f"127.0.0.1:{port}")
    return port, tunnels[0].socks5("127.0.0.1:0", False, None), tunnels


def measure_download(port: int, proxy: str, size: int) -> tuple[float, float]:
    """Gbit/s through the tunnel, and of plain loopback at about the same time."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        bare = download(connection, size)
    connection, code = dial_socks(proxy, addresses(2)[0], EXPOSED)
    with connection:
        if code != 0:
            raise ConnectionError(f"the proxy answered {code}")
        return download(connection, size), bare


def download_pairs(stack: ExitStack, size: int, rounds: int) -> list[tuple[float, float]]:
    port, proxy, _ = open_download(stack)
    return [measure_download(port, proxy, size) for _ in range(rounds)]


def userspace(size: int, rounds: int) -> list[dict[str, Any]]:
    results = []
    with ExitStack() as stack:
        port, proxy, tunnels = open_download(stack)
        for _ in range(rounds):
            before = [cpu_seconds(t.process) for t in tunnels]
            rate, bare = measure_download(port, proxy, size)
            after = [cpu_seconds(t.process) for t in tunnels]
            used = [round(y - x, 2) for x, y in zip(before, after, strict=True)]
            results.append({"case": "socks5", "gbit_s": round(rate, 2), "bare_gbit_s": round(bare, 2), "cpu_s": used})
        results.append({"case": "stats", "a": tunnels[0].stats(), "b": tunnels[1].stats()})
    return results


def open_wireguard_go(stack: ExitStack, program: Path, names: tuple[str, str]) -> None:
    """The same between the same namespaces, on 10.203.0.0/24."""
    keys = [X25519PrivateKey.generate() for _ in names]
    tag = secrets.token_hex(3)
    for number, name in enumerate(names, start=1):
        device = f"wg{tag}{number}"
        instance = stack.enter_context(wireguard_go.running(program, name, device))
        other = keys[2 - number].public_key().public_bytes_raw().hex()
        secret = keys[number - 1].private_bytes_raw().hex()
        instance.configure(
            secret, 51_820 + number, other, f"10.202.0.{3 - number}:{51_823 - number}", ["10.203.0.0/24"]
        )
        ip("-n", name, "addr", "add", f"10.203.0.{number}/24", "dev", device)
        ip("-n", name, "link", "set", device, "mtu", "1280", "up")


def devices(size: int, rounds: int, program: Path | None) -> list[dict[str, Any]]:
    results = []
    with two_namespaces() as names, ExitStack() as stack:
        tunnels = open_pair(stack, ["10.202.0.1", "10.202.0.2"], list(names), "gwbench0")
        paths = {"gbit_s": addresses(2)[0], "bare_gbit_s": "10.202.0.2"}
        if program is not None:
            open_wireguard_go(stack, program, names)
            paths["wireguard_go_gbit_s"] = "10.203.0.2"
        enter = ["ip", "netns", "exec"]
        ports = {a: start_server(stack, *enter, names[1], address=a, port=EXPOSED) for a in paths.values()}
        for _ in range(rounds):
            result: dict[str, Any] = {"case": "tun"}
            for label, address in paths.items():
                client = [sys.executable, "-c", CLIENT, address, str(ports[address]), str(size)]
                before = [cpu_seconds(t.process) for t in tunnels]
                done = subprocess.run([*enter, names[0], *client], capture_output=True, text=True, check=True)
                after = [cpu_seconds(t.process) for t in tunnels]
                result[label] = round(float(done.stdout), 2)
                if label == "gbit_s":
                    result["cpu_s"] = [round(y - x, 2) for x, y in zip(before, after, strict=True)]
            results.append(result)
        results.append({"case": "stats", "a": tunnels[0].stats(), "b": tunnels[1].stats()})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000_000, help="bytes of one download")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tun", action="store_true", help="TUN devices in two namespaces (root)")
    parser.add_argument("--stats", action="store_true", help="also print the tunnels' counters")
    parser.add_argument("--wireguard-go", type=Path, help="with --tun: this program beside it, in the same namespaces")
    chosen = parser.parse_args()
    if _native.build_profile() not in {"release", "editable"}:
        raise SystemExit(f"built with profile {_native.build_profile()!r}: not for measuring")
    print(json.dumps({"machine": platform.machine(), "kernel": platform.release(), "cpus": os.cpu_count()}))
    if chosen.tun:
        results = devices(chosen.size, chosen.rounds, chosen.wireguard_go)
    else:
        results = userspace(chosen.size, chosen.rounds)
    for result in results:
        if chosen.stats or result["case"] != "stats":
            print(json.dumps(result))


if __name__ == "__main__":
    main()
