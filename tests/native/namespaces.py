"""Network namespaces joined by a veth pair, and tunnels that run inside them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and /dev/net/tun"
)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def run_in(namespace: str, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, check=False, **options
    )


@contextlib.contextmanager
def two_namespaces() -> Iterator[tuple[str, str]]:
    """Two namespaces, 10.202.0.1 in the first and 10.202.0.2 in the second."""
    tag = secrets.token_hex(3)
    names = (f"gwt-{tag}-a", f"gwt-{tag}-b")
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            ip("-n", name, "addr", "add", f"10.202.0.{number}/24", "dev", "veth0")
            ip("-n", name, "link", "set", "veth0", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


class RemoteTunnel:
    """A tunnel in another process, inside a namespace if one is named."""

    def __init__(self, namespace: str | None = None) -> None:
        command = [sys.executable, str(Path(__file__).with_name("tunnel_process.py"))]
        if namespace is not None:
            command = ["ip", "netns", "exec", namespace, *command]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            stdin, stdout = self.process.stdin, self.process.stdout
            assert stdin is not None
            assert stdout is not None
            texts = [a.decode() if isinstance(a, bytes) else a for a in arguments]
            stdin.write(json.dumps({"call": name, "arguments": texts}) + "\n")
            stdin.flush()
            answer = json.loads(stdout.readline())
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return answer["result"]

        return call

    def __enter__(self) -> RemoteTunnel:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            pass
