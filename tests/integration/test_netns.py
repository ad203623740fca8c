"""Network namespaces, TUN devices, the system's own ping and TCP, and a coordinator that is killed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ghostwire.agent.io.asking import ask
from ghostwire.cli.admin import Admin
from ghostwire.errors import UnavailableError

PATIENCE_S = 60.0
NEEDS = ("ip", "ping")
pytestmark = [
    pytest.mark.netns,
    pytest.mark.integration,
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK) or not all(map(shutil.which, NEEDS)),
        reason="needs root, /dev/net/tun, iproute2 and ping",
    ),
]

SINK = """
import socket, sys
s = socket.create_server((sys.argv[1], 5201)); print("ready", flush=True)
c, _ = s.accept(); n = 0
while (d := c.recv(1 << 16)): n += len(d)
print(n)
"""
SOURCE = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 5201), 30); end = time.time() + 6; n = 0; b = b"x" * 65536
while time.time() < end: s.settimeout(30); s.sendall(b); n += len(b)
s.shutdown(1); print(n)
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)


class Space:
    """A namespace with one address on a common bridge; processes in it end with the test."""

    def __init__(self, name: str, address: str, stack: ExitStack, folder: Path) -> None:
        self.name, self.address, self.folder = name, address, folder
        self._stack = stack

    def start(self, *command: str, log: str = "", text: bool = False) -> subprocess.Popen[Any]:
        prefix = ["ip", "netns", "exec", self.name]
        if text:
            process: subprocess.Popen[Any] = subprocess.Popen([*prefix, *command], stdout=subprocess.PIPE, text=True)
        else:
            with (self.folder / f"{log}.log").open("ab") as output:
                process = subprocess.Popen([*prefix, *command], stdout=output, stderr=output)
        self._stack.callback(self._end, process)
        return process

    def ghostwire(self, *arguments: str, log: str) -> subprocess.Popen[Any]:
        return self.start(sys.executable, "-m", "ghostwire.cli", *arguments, log=log)

    def ping(self, address: str, count: int = 1) -> bool:
        command = ["ip", "netns", "exec", self.name, "ping", "-c", str(count), "-i", "0.2", "-W", "2", address]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0

    @staticmethod
    def _end(process: subprocess.Popen[Any]) -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[tuple[Space, Space, Space]]:
    with ExitStack() as stack:
        prefix = f"gwt{os.getpid() % 10000}"
        hub = f"{prefix}-x"
        made = []
        run("ip", "netns", "add", hub)
        stack.callback(run, "ip", "netns", "del", hub)
        run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", hub, "link", "set", "br0", "up")
        for number, letter in enumerate("sab", 1):
            name, address = f"{prefix}-{letter}", f"10.202.7.{number}"
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
            run("ip", "link", "add", "v0", "netns", name, "type", "veth", "peer", "name", f"p{letter}", "netns", hub)
            run("ip", "-n", hub, "link", "set", f"p{letter}", "master", "br0", "up")
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "v0")
            run("ip", "-n", name, "link", "set", "v0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            made.append(Space(name, address, stack, tmp_path))
        yield made[0], made[1], made[2]


def until(what: str, look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            found = look()
        except UnavailableError:
            found = None
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not {what} within {PATIENCE_S:.0f} s")


def serve(space: Space, folder: Path) -> subprocess.Popen[Any]:
    url = f"https://{space.address}:8443"
    process = space.ghostwire(
        *("serve", "--data", str(folder / "server"), "--listen", f"{space.address}:8443", "--url", url), log="serve"
    )

    def answers() -> Any:
        with Admin.local(folder / "server") as admin:
            return admin.get("/v1/status")

    until("serving", answers)
    return process


def join(space: Space, name: str, folder: Path) -> dict[str, Any]:
    with Admin.local(folder / "server") as admin:
        made = admin.post("/v1/preauth-keys", {"user": "alice", "tags": [], "uses": 1, "life_s": 3600})
    space.ghostwire(
        *("up", "--server", made["server"], "--pin", made["pin"], "--key", made["key"], "--hostname", name),
        *("--state", str(folder / name)),
        log=name,
    )
    status: dict[str, Any] = until(f"{name} up", lambda: up(folder / name))
    return status


def up(state: Path) -> Any:
    status = ask(state, "status")
    return status if status["self"]["ipv4"] else None


def connected(state: Path) -> bool:
    return bool(ask(state, "status")["coordinator"]["connected"])


def devices(space: Space) -> set[str]:
    found = subprocess.run(
        ["ip", "-j", "-n", space.name, "link"], capture_output=True, check=True, timeout=PATIENCE_S
    ).stdout
    return {device["ifname"] for device in json.loads(found)}


def test_ping_and_a_flow_that_outlives_the_coordinator(spaces: tuple[Space, Space, Space], tmp_path: Path) -> None:
    server, a, b = spaces
    serving = serve(server, tmp_path)
    join(a, "a", tmp_path)
    status = join(b, "b", tmp_path)
    address = status["self"]["ipv4"]
    assert status["mode"] == "tun"
    until("said", lambda: "Mode: TUN device ghostwire0" in (tmp_path / "b.log").read_text())
    until("reachable", lambda: a.ping(address))
    assert a.ping(address, 10)
    assert a.ping(status["self"]["ipv6"], 3)
    peer = ask(tmp_path / "a", "status")["peers"][0]
    assert peer["endpoint"] == f"{b.address}:51820"
    assert peer["rx_bytes"] > 1000
    assert "ghostwire0" in devices(a)
    assert ask(tmp_path / "a", "ping", 30.0, peer="b", timeout_s=10)["rtt_ms"] > 0

    sink = b.start(sys.executable, "-c", SINK, address, text=True)
    assert sink.stdout is not None
    assert sink.stdout.readline() == "ready\n"
    source = a.start(sys.executable, "-c", SOURCE, address, text=True)
    time.sleep(1)
    serving.kill()
    serving.wait()
    until("noticing", lambda: not connected(tmp_path / "a"))
    serve(server, tmp_path)
    sent, _ = source.communicate(timeout=PATIENCE_S)
    received, _ = sink.communicate(timeout=PATIENCE_S)
    assert int(sent) == int(received) > 0
    until("back", lambda: connected(tmp_path / "a") and connected(tmp_path / "b"))
    ask(tmp_path / "a", "down")
    until("gone", lambda: "ghostwire0" not in devices(a))
