"""wireguard-go in a network namespace, configured through its socket (the cross-platform userspace interface)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = "golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446"
SOCKETS = Path("/var/run/wireguard")


def build(folder: Path) -> Path | None:
    """The program, built by Go into `folder`; None where there is no Go."""
    program = folder / "wireguard"
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if program.exists():
        return program
    if go is None:
        return None
    environment = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
    done = subprocess.run([go, "install", MODULE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


class WireGuardGo:
    """One running instance with device `name`."""

    def __init__(self, name: str) -> None:
        self.path = SOCKETS / f"{name}.sock"

    def ask(self, request: str) -> dict[str, str]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(request.encode() + b"\n\n")
            answer = b""
            while not answer.endswith(b"\n\n"):
                answer += connection.recv(65_536)
        fields = dict(line.split("=", 1) for line in answer.decode().splitlines() if line)
        if fields.pop("errno") != "0":
            raise OSError(f"wireguard-go refused {request.splitlines()[0]}")
        return fields

    def configure(self, private_key: str, port: int, peer: str, endpoint: str | None, allowed: list[str]) -> None:
        lines = [f"private_key={private_key}", f"listen_port={port}", "replace_peers=true", f"public_key={peer}"]
        if endpoint is not None:
            lines.append(f"endpoint={endpoint}")
        lines += [f"allowed_ip={network}" for network in allowed]
        self.ask("set=1\n" + "\n".join(lines))

    def state(self) -> dict[str, str]:
        return self.ask("get=1")


@contextlib.contextmanager
def running(program: Path, namespace: str, name: str) -> Iterator[WireGuardGo]:
    environment = os.environ | {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
    command = ["ip", "netns", "exec", namespace, str(program), "-f", name]
    with subprocess.Popen(command, env=environment) as process:
        instance = WireGuardGo(name)
        try:
            deadline = time.monotonic() + 20
            while not instance.path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("wireguard-go did not start")
                time.sleep(0.02)
            yield instance
        finally:
            process.terminate()
