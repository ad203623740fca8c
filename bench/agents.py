"""A download between two real rootless agents, beside one between two tailscaled, in the same run on the same cores.

`python -m bench.agents --tailscale DIR` takes turns: the same server and the same client, once through
`ghostwire up --socks5`, once through `tailscaled --tun=userspace-networking`. DIR holds `tailscaled`, `tailscale` and
`control` (bench/peers/README.md says how to build them). Without --tailscale only our own pair is measured. Prints one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.tunnel import download, start_server
from ghostwire import _native
from ghostwire.agent.io.asking import ask
from ghostwire.cli.admin import Admin
from ghostwire.testing.processes import Child
from tests.native.mesh import dial_socks

PATIENCE_S = 60.0
ENVIRONMENT = {
    "TS_NO_LOGS_NO_SUPPORT": "1",
    "TS_DEBUG_USE_DERP_HTTP": "1",
    "TS_DISABLE_PORTMAPPER": "1",
    "TS_PANIC_IF_HIT_MAIN_CONTROL": "1",
    "TS_ASSUME_NETWORK_UP_FOR_TEST": "1",
}
Measure = Callable[[int], float]
"""Downloads so many bytes; Gbit/s."""


def through(proxy: str, host: str, port: int) -> Measure:
    def measure(size: int) -> float:
        connection, code = dial_socks(proxy, host, port)
        with connection:
            if code != 0:
                raise ConnectionError(f"the proxy answered {code}")
            return download(connection, size)

    return measure


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def ghostwire(stack: ExitStack, folder: Path, port: int) -> Measure:
    """Two agents of one user under a coordinator of their own."""
    data = folder / "server"
    server = stack.enter_context(
        Child.start(["serve", "--data", str(data), "--listen", "127.0.0.1:0"], folder / "server.log")
    )
    with Admin.local(data) as admin:
        server.until("ready", lambda: admin.get("/v1/status")["ready"], PATIENCE_S)
        key = admin.post("/v1/preauth-keys", {"user": "bench", "uses": None})
        status = admin.get("/v1/status")
    proxy = f"127.0.0.1:{free_port()}"
    roles = {"a": ["--socks5", proxy], "b": ["--expose", f"{port}=127.0.0.1:{port}"]}
    join = ["up", "--server", status["url"], "--pin", status["pin"], "--userspace", "--port", "0"]
    for name, role in roles.items():
        state = ["--state", str(folder / name), "--hostname", name]
        child = Child.start([*join, *state, *role], folder / f"{name}.log", {"GHOSTWIRE_KEY": key["key"]})
        stack.enter_context(child)
        child.until("up", lambda name=name: ask(folder / name, "status")["self"]["ipv4"], PATIENCE_S)
    child.until("reached", lambda: ask(folder / "a", "ping", PATIENCE_S, peer="b", timeout_s=2.0)["rtt_ms"], PATIENCE_S)
    return through(proxy, "b", port)


def tailscale(stack: ExitStack, folder: Path, port: int, programs: Path) -> Measure:
    """Two tailscaled without devices under Tailscale's own test coordinator."""
    environment = {**os.environ, **ENVIRONMENT}

    def run(*command: str) -> subprocess.Popen[bytes]:
        with (folder / "tailscale.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        return process

    control, proxy = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    run(str(programs / "control"), "-listen", control)
    sockets = {name: str(folder / f"{name}.sock") for name in ("a", "b")}
    for name, path in sockets.items():
        socks = [f"--socks5-server={proxy}"] if name == "a" else []
        device = ["--tun=userspace-networking", "--port=0", "--no-logs-no-support"]
        run(str(programs / "tailscaled"), *device, *socks, f"--statedir={folder / name}", f"--socket={path}")

    def ask_them(name: str, *words: str) -> str:
        command = [str(programs / "tailscale"), f"--socket={sockets[name]}", *words]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    deadline = time.monotonic() + PATIENCE_S
    while not all(Path(path).exists() for path in sockets.values()):
        if time.monotonic() > deadline:
            raise TimeoutError((folder / "tailscale.log").read_text()[-2000:])
        time.sleep(0.1)
    for name in sockets:
        ask_them(name, "up", f"--login-server=http://{control}", f"--hostname={name}", "--accept-dns=false")
    address = ask_them("b", "ip", "-4")
    ask_them("a", "ping", "--c=10", "--timeout=5s", "--until-direct=true", address)
    return through(proxy, address, port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000_000, help="bytes of one download")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tailscale", type=Path, help="the folder of tailscaled, tailscale and control")
    chosen = parser.parse_args()
    if _native.build_profile() not in {"release", "editable"}:
        raise SystemExit(f"built with profile {_native.build_profile()!r}: not for measuring")
    with tempfile.TemporaryDirectory(prefix="gwb") as room, ExitStack() as stack:
        port = start_server(stack)
        pairs: dict[str, Measure] = {}
        for name in ("ghostwire", "tailscale")[: 2 if chosen.tailscale else 1]:
            folder = Path(room, name)
            folder.mkdir()
            if name == "ghostwire":
                pairs[name] = ghostwire(stack, folder, port)
            else:
                pairs[name] = tailscale(stack, folder, port, chosen.tailscale)
        rates: dict[str, list[float]] = {name: [] for name in pairs}
        for _ in range(chosen.rounds):
            for name, measure in pairs.items():
                rates[name].append(round(measure(chosen.size), 2))
    middle = {f"{name}_gbit_s": statistics.median(found) for name, found in rates.items()}
    machine = {"kernel": platform.release(), "cpus": os.cpu_count(), "build": _native.build_profile()}
    print(json.dumps({**machine, "bytes": chosen.size, **middle, "rounds": rates}))


if __name__ == "__main__":
    main()
