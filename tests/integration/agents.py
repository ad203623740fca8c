"""A coordinator and agents as real processes on loopback."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from ghostwire.agent.io.asking import ask
from ghostwire.cli.admin import Admin
from ghostwire.testing.processes import Child

PATIENCE_S = 60.0
"""Five times and more of what a step may take."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Coordinator:
    """`ghostwire serve` on a port that it keeps across restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "server"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.child = self._start()

    def _start(self) -> Child:
        arguments = ["serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}", "--url", self.url]
        child = Child.start(arguments, self.folder / "serve.log")
        child.until("answering", lambda: self.admin_get("/v1/status"), PATIENCE_S)
        return child

    def kill(self) -> None:
        self.child.kill()

    def restart(self) -> None:
        self.child = self._start()

    def admin_get(self, path: str) -> Any:
        with Admin.local(self.data) as admin:
            return admin.get(path)

    def key(self, user: str = "alice", uses: int | None = 1) -> tuple[str, str]:
        """A pre-auth key and the coordinator's pin."""
        with Admin.local(self.data) as admin:
            made = admin.post("/v1/preauth-keys", {"user": user, "tags": [], "uses": uses, "life_s": 3600})
        return made["key"], made["pin"]

    def apply(self, policy: str) -> None:
        with Admin.local(self.data) as admin:
            admin.put("/v1/policy", {"text": policy})

    def post(self, path: str) -> None:
        with Admin.local(self.data) as admin:
            admin.post(path)

    def delete(self, node: str) -> None:
        with Admin.local(self.data) as admin:
            admin.delete(f"/v1/nodes/{node}")

    def node_names(self) -> list[str]:
        return [node["name"] for node in self.admin_get("/v1/nodes")["nodes"]]


class Agent:
    """`ghostwire up` in a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.state = folder / name
        self.log = folder / f"{name}.log"
        self.child: Child | None = None

    def up(self, *arguments: str, environment: dict[str, str] | None = None) -> Self:
        self.child = Child.start(["up", "--state", str(self.state), *arguments], self.log, environment, self.name)
        return self

    def join(self, coordinator: Coordinator, *arguments: str, user: str = "alice") -> Self:
        key, pin = coordinator.key(user)
        self.up(
            *("--server", coordinator.url, "--pin", pin, "--key", key, "--hostname", self.name),
            *("--port", "0", "--userspace", *arguments),
        )
        return self.until_connected()

    def until_connected(self) -> Self:
        self.until("connected", lambda status: status["coordinator"]["connected"] and status["self"]["ipv4"])
        return self

    def until(self, what: str, look: Any) -> dict[str, Any]:
        assert self.child is not None

        def found() -> dict[str, Any] | None:
            status = self.status()
            return status if look(status) else None

        return self.child.until(what, found, PATIENCE_S)

    def until_sees(self, *names: str, online: bool = True) -> Self:
        self.until(f"seeing {names}", lambda status: self._online(status, online) >= set(names))
        return self

    @staticmethod
    def _online(status: dict[str, Any], online: bool) -> set[str]:
        return {peer["name"] for peer in status["peers"] if peer["online"] is online}

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(self.state, "status")
        return found

    def ping(self, peer: str, seconds: float = 10.0) -> float | None:
        rtt: float | None = ask(self.state, "ping", seconds + PATIENCE_S, peer=peer, timeout_s=seconds)["rtt_ms"]
        return rtt

    def stop(self) -> int:
        assert self.child is not None
        return self.child.stop(PATIENCE_S)


class Flow:
    """Bytes that are sent without end to a local port, which leads to what listens at `sink`.

    `moved` is set when some have arrived, `ended` when no more can be sent.
    """

    def __init__(self, port: int, sink: socket.socket) -> None:
        self.moved, self.ended = threading.Event(), threading.Event()
        self._source = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._sink = sink
        sink.settimeout(PATIENCE_S)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        try:
            while True:
                self._source.sendall(b"x" * 65536)
        except OSError:
            self.ended.set()

    def _receive(self) -> None:
        try:
            arrived, _ = self._sink.accept()
            with arrived:
                while arrived.recv(1 << 16):
                    self.moved.set()
        except OSError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._source.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)


class Mesh:
    """One coordinator, and agents that end with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._agents = 0
        self.coordinator = Coordinator(folder)

    def agent(self, name: str) -> Agent:
        self._agents += 1
        folder = self.folder / str(self._agents)
        folder.mkdir(mode=0o711)
        agent = Agent(folder, name)
        self._stack.callback(lambda: agent.child is not None and agent.child.stop())
        return agent

    def clear(self) -> None:
        """End the agents and remove their nodes: the coordinator is as new."""
        self._stack.close()
        for name in self.coordinator.node_names():
            self.coordinator.delete(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()
        self.coordinator.child.stop()
