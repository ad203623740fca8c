"""A peer query over a live session: 1,000 sessions, 3,000 a second, beside a server that does nothing but answer.

Both serve in processes of their own, in turns; arrivals are a Poisson process, and time counts from the scheduled one.
"""

import functools
import random
import statistics

from bench.load.clients import Node, Serving, open_loop, query
from ghostwire.errors import UnavailableError
from ghostwire.testing.load.caller import Caller
from ghostwire.testing.load.door import Door

SESSIONS = 1000
USERS = 100
RATE = 3000.0
SECONDS = 3.0
ROUNDS = 5


def schedule(seed: int) -> list[float]:
    draw = random.Random(seed)
    found, at = [], 0.05
    while at < SECONDS:
        found.append(at)
        at += draw.expovariate(RATE)
    return found


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[int(share * len(times))]


@functools.cache
def measure() -> dict[str, list[tuple[float, float, float]]]:
    """(p50, p99, server CPU each) in seconds of each round, of this server and of the raw one."""
    with Serving("ghostwire", USERS) as ours, Serving("raw") as raw:
        nodes = [Node(ours, ours.keys[at % USERS], f"node-{at}") for at in range(SESSIONS)]
        for node in nodes:
            node.join()
        for node in nodes:
            settle(node.connection)
        # Each asks for the next node of its own user.
        requests = [query(f"node-{(at + USERS) % SESSIONS}") for at in range(SESSIONS)]
        plain = [Caller(Door("127.0.0.1", raw.port)) for _ in range(SESSIONS)]
        sides = {"ours": (ours, [node.connection for node in nodes]), "raw": (raw, plain)}
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
        for turn in range(ROUNDS):
            for name, (serving, connections) in sides.items():
                before = serving.cpu_s
                times = open_loop(connections, requests, schedule(turn))
                cpu = (serving.cpu_s - before) / len(times)
                found[name].append((percentile(times, 0.5), percentile(times, 0.99), cpu))
        for connection in (*(node.connection for node in nodes), *plain):
            connection.close()
    return found


def median(side: str, at: int) -> float:
    return statistics.median(turn[at] for turn in measure()[side])


class Queries:
    """Peers that a node asks for by name."""

    timeout = 300

    def track_p99(self) -> float:
        return median("ours", 1) * 1000

    def track_p50(self) -> float:
        return median("ours", 0) * 1000

    def track_cpu(self) -> float:
        return median("ours", 2) * 1e6

    def track_p99_over_raw(self) -> float:
        return median("ours", 1) / median("raw", 1)

    def track_p50_over_raw(self) -> float:
        return median("ours", 0) / median("raw", 0)

    def track_cpu_over_raw(self) -> float:
        return median("ours", 2) / median("raw", 2)


def settle(connection: Caller) -> None:
    """Read away what came while others joined."""
    connection.socket.settimeout(0.002)
    try:
        while True:
            connection.read()
    except UnavailableError:
        return  # nothing more comes


for method in (Queries.track_p99, Queries.track_p50):
    method.unit = "ms"  # type: ignore[attr-defined]
Queries.track_cpu.unit = "us of server CPU each"  # type: ignore[attr-defined]
