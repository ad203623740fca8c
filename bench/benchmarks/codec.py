"""The WebSocket codec of node sessions beside two libraries: messages a second, and memory of an idle session.

Each serves in a process of its own, in turns; what the client costs is the same for all of them.
"""

import functools
import os
import select
import statistics
import subprocess
import sys
import time
from typing import Self

import psutil

from bench.load.clients import ROOT
from bench.load.codecs import KINDS
from ghostwire.testing.load.caller import Caller
from ghostwire.testing.load.door import Door
from ghostwire.testing.load.link import masked

FIRST = 2000
IDLE = 6000
"""Sessions that do nothing while their memory is looked at; the first ones fill what starting has freed."""
TALKING = 50
MESSAGES = 200
"""Messages that each of those sends in a round, one after the answer to the other."""
SIZE = 100
"""Bytes of each: about a heartbeat's."""
ROUNDS = 5


class Serving:
    """One codec's server."""

    def __init__(self, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load.codecs", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.port = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    @property
    def memory(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._read()

    @property
    def cpu_s(self) -> float:
        used = psutil.Process(self._process.pid).cpu_times()
        return float(used.user + used.system)

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def talk(callers: list[Caller]) -> float:
    """Messages a second there and back, each session with one on its way."""
    message = masked(bytes(SIZE))
    poll = select.epoll()
    left = {}
    for caller in callers:
        poll.register(caller.socket.fileno(), select.EPOLLIN)
        left[caller.socket.fileno()] = (caller, MESSAGES)
        caller.socket.sendall(message)
    began = time.perf_counter()
    while left:
        for number, _ in poll.poll():
            caller, rest = left[number]
            if not caller.read():
                continue
            if rest == 1:
                del left[number]
                poll.unregister(number)
            else:
                left[number] = caller, rest - 1
                caller.socket.sendall(message)
    taken = time.perf_counter() - began
    poll.close()
    return len(callers) * MESSAGES / taken


@functools.cache
def measure() -> dict[str, tuple[float, float, float]]:
    """Messages a second, server CPU seconds a message and bytes an idle session, of each codec."""
    idle: dict[str, float] = {}
    for kind in KINDS:
        with Serving(kind) as serving:
            first = [Caller(Door("127.0.0.1", serving.port)) for _ in range(FIRST)]
            before = serving.memory
            callers = [Caller(Door("127.0.0.1", serving.port)) for _ in range(IDLE)]
            talk(callers[:TALKING])
            idle[kind] = (serving.memory - before) / IDLE
            for caller in (*first, *callers):
                caller.close()
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    costs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind in KINDS:
            with Serving(kind) as serving:
                callers = [Caller(Door("127.0.0.1", serving.port)) for _ in range(TALKING)]
                talk(callers)
                before_s = serving.cpu_s
                rates[kind].append(talk(callers))
                costs[kind].append((serving.cpu_s - before_s) / (TALKING * MESSAGES))
                for caller in callers:
                    caller.close()
    return {kind: (statistics.median(rates[kind]), statistics.median(costs[kind]), idle[kind]) for kind in KINDS}


class Own:
    """What node sessions run on."""

    timeout = 300
    codec = "own"

    def track_rate(self) -> float:
        return measure()[self.codec][0]

    def track_cpu(self) -> float:
        return measure()[self.codec][1] * 1e6

    def track_idle_bytes(self) -> float:
        return measure()[self.codec][2]

    def track_rate_over_picows(self) -> float:
        return measure()["own"][0] / measure()["picows"][0]

    def track_rate_over_websockets(self) -> float:
        return measure()["own"][0] / measure()["websockets"][0]


class Picows:
    timeout = 300
    codec = "picows"
    track_rate, track_cpu, track_idle_bytes = Own.track_rate, Own.track_cpu, Own.track_idle_bytes


class Websockets:
    timeout = 300
    codec = "websockets"
    track_rate, track_cpu, track_idle_bytes = Own.track_rate, Own.track_cpu, Own.track_idle_bytes


Own.track_rate.unit = "messages/s"  # type: ignore[attr-defined]
Own.track_cpu.unit = "us of server CPU a message"  # type: ignore[attr-defined]
Own.track_idle_bytes.unit = "bytes a session"  # type: ignore[attr-defined]
