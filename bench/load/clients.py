"""Clients without an event loop: blocking where nothing is timed, one epoll where something is."""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from ghostwire.model.node import NodeFacts
from ghostwire.testing.load.caller import Caller
from ghostwire.testing.load.door import Door
from ghostwire.testing.load.kinds import is_answer
from ghostwire.testing.load.link import masked
from ghostwire.wire import codec
from ghostwire.wire.client_session import ClientSession, Credentials
from ghostwire.wire.keys import clamp, public_key
from ghostwire.wire.messages import MAX_SERVER_FRAME, Query, Welcome
from ghostwire.wire.netmap import NetMap
from ghostwire.wire.packing import unpack_message

ROOT = Path(__file__).parents[2]


class Serving:
    """A server process. `cpu_s` is what it has used."""

    def __init__(self, kind: str, users: int = 0, sync_ms: float = 0.0) -> None:
        self._kept = tempfile.TemporaryDirectory(prefix="gw-bench-")
        self.directory = Path(self._kept.name) / "server"
        command = [sys.executable, "-m", "bench.load.serving", kind, str(self.directory), str(users), str(sync_ms)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        said = self._read()
        self.port: int = said["port"]
        self.keys: list[str] = said.get("keys", [])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._kept.cleanup()

    def counters(self) -> dict[str, int]:
        """What it has committed so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    @property
    def cpu_s(self) -> float:
        used = psutil.Process(self._process.pid).cpu_times()
        return used.user + used.system


class Node:
    """A connection that has its challenge, and the `register` that answers it, not yet sent."""

    def __init__(self, serving: Serving, key: str, name: str) -> None:
        self.connection = Caller(Door("127.0.0.1", serving.port))
        who = Credentials(
            node_private=clamp(os.urandom(32)),
            machine_key=public_key(clamp(os.urandom(32))),
            facts=NodeFacts(hostname=name),
            preauth_key=key,
        )
        self.session = ClientSession(who, NetMap(), f"http://127.0.0.1:{serving.port}")
        while (request := self.session.poll_transmit()) is None:
            self.take(self.connection.read())
        self.request = masked(request)

    def take(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self.session.receive(frame)

    def join(self) -> None:
        """Register and take the map."""
        self.connection.socket.sendall(self.request)
        while self.session.netmap.position is None:
            self.take(self.connection.read())


def register_all(clients: list[list[Node]]) -> tuple[list[float], float]:
    """Each client registers its nodes, one after the other. Seconds from `register` to `welcome`, and in all."""
    poll = select.epoll()
    waiting: dict[int, tuple[list[Node], int, float]] = {}
    times: list[float] = []

    def send(nodes: list[Node], turn: int) -> None:
        found = nodes[turn].connection.socket
        waiting[found.fileno()] = (nodes, turn, time.perf_counter())
        found.sendall(nodes[turn].request)

    for nodes in clients:
        for node in nodes:
            poll.register(node.connection.socket.fileno(), select.EPOLLIN)
    began = time.perf_counter()
    for nodes in clients:
        send(nodes, 0)
    while waiting:
        for number, _ in poll.poll():
            if number not in waiting:
                poll.unregister(number)  # its map and its peers' deltas are not read: they fit into its buffers
                continue
            nodes, turn, since = waiting[number]
            if not (frames := nodes[turn].connection.read()):
                continue
            times.append(time.perf_counter() - since)
            assert isinstance(codec.decode_from_server(unpack_message(frames[0], MAX_SERVER_FRAME)), Welcome)
            del waiting[number]
            if turn + 1 < len(nodes):
                send(nodes, turn + 1)
    total = time.perf_counter() - began
    poll.close()
    return times, total


def open_loop(connections: Sequence[Caller], requests: Sequence[bytes], schedule: Sequence[float]) -> list[float]:
    """Send request `i` on connection `i` of the round at `schedule[i]` seconds; seconds from then to its answer.

    Time counts from the scheduled moment, so a stall of the server, or of this client, is not hidden.
    """
    poll = select.epoll()
    by_number = {}
    for connection in connections:
        connection.socket.setblocking(False)
        by_number[connection.socket.fileno()] = (connection, deque[float]())
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    times: list[float] = []
    sent, count = 0, len(schedule)
    gc.collect()
    gc.disable()  # this client's pauses are not the server's
    began = time.perf_counter()
    while len(times) < count:
        now = time.perf_counter() - began
        while sent < count and schedule[sent] <= now:
            turn = sent % len(connections)
            connection = connections[turn]
            by_number[connection.socket.fileno()][1].append(schedule[sent])
            connection.socket.send(requests[turn])
            sent += 1
        for number, _ in poll.poll(0 if sent < count else 0.001):
            connection, due = by_number[number]
            frames = connection.read()
            arrived = time.perf_counter() - began
            for frame in frames:
                if is_answer(frame):
                    times.append(arrived - due.popleft())
    gc.enable()
    poll.close()
    return times


def query(name: str) -> bytes:
    """The frame of a query for one peer."""
    return masked(codec.encode(Query(id=1, name=name)))
