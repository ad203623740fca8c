"""A server of several processes: its supervisor, leader and workers, found, asked, paused and killed one by one."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil

from ghostwire.cli.admin import Admin
from ghostwire.testing.processes import Child
from tests.integration.node_client import NodeClient, credentials

PATIENCE_S = 30.0


class Workers:
    """One such server, in a folder of its own."""

    def __init__(self, room: Path, *words: str, config: str = "") -> None:
        self.room, self.data = room, room / "server"
        self.data.mkdir(mode=0o700, exist_ok=True)
        if config:
            (self.data / "ghostwire.yaml").write_text(config)
        self.words = words
        self.child: Child

    def verb(self, *words: str) -> list[str]:
        """The command line that starts it."""
        listen = ["--listen", "127.0.0.1:0", "--tls", "off"]
        return ["serve", "--data", str(self.data), *listen, *self.words, *words]

    def start(self) -> Child:
        """Start it and wait for its leader and all its workers."""
        child = Child.start(self.verb(), self.room / "log")
        child.until("ready", self.ready, PATIENCE_S)
        return child

    def ready(self) -> bool:
        status = self.ask(lambda admin: admin.get("/v1/status"))
        return bool(status["ready"]) and len(status["workers"]) == int(self.words[self.words.index("--workers") + 1])

    def ask(self, what: Callable[[Admin], Any]) -> Any:
        with Admin.local(self.data) as admin:
            return what(admin)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(lambda admin: admin.get("/v1/status"))
        return found

    def workers(self) -> dict[int, int]:
        """Sessions by the worker's process."""
        return {worker["pid"]: worker["sessions"] for worker in self.status()["workers"]}

    def leader(self) -> int:
        """The leader's process."""
        theirs = {worker["pid"] for worker in self.status()["workers"]}
        (found,) = {process.pid for process in psutil.Process(self.child.pid).children()} - theirs
        return found

    def key(self, user: str = "alice") -> dict[str, Any]:
        """A pre-auth key for many machines, and where to use it."""
        made: dict[str, Any] = self.ask(lambda admin: admin.post("/v1/preauth-keys", {"user": user, "uses": 1000}))
        return made

    def metrics(self) -> dict[str, float]:
        """What the server counts, by name and labels."""
        lines = self.ask(lambda admin: admin.text("/metrics")).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    def log(self) -> str:
        return (self.room / "log").read_text()


@contextmanager
def serving(*words: str, config: str = "") -> Iterator[Workers]:
    with tempfile.TemporaryDirectory(prefix="gw") as folder:
        server = Workers(Path(folder), *words, config=config)
        server.child = server.start()
        try:
            yield server
        finally:
            resume(server.child.pid)
            code = server.child.stop()
        assert code == 0, server.log()


def resume(supervisor: int) -> None:
    """Let every process of a server run that a test has stopped."""
    for process in psutil.Process(supervisor).children() if psutil.pid_exists(supervisor) else ():
        os.kill(process.pid, signal.SIGCONT)


@asynccontextmanager
async def crowd(server: Workers, user: str, count: int) -> AsyncIterator[list[NodeClient]]:
    """Machines of one user that have heard of each other; the list may be changed. None is left at the end."""
    names = [f"{user}{number}" for number in range(count)]
    nodes = await join(server.key(user), *names)
    try:
        for node in nodes:
            await node.until_peers(*(name for name in names if name != node.netmap.own().name))
        yield nodes
    finally:
        for node in nodes:
            await node.socket.close()
        wait(lambda: server.status()["sessions"] == 0)


async def join(key: dict[str, Any], *names: str) -> list[NodeClient]:
    """Machines that join one after the other."""
    found = []
    for name in names:
        node = NodeClient(key["server"], credentials(name, key["key"]), pin=key["pin"])
        await node.__aenter__()
        await node.joined()
        found.append(node)
    return found


def wait(what: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)
