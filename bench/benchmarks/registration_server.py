"""Registrations through a whole server, over connections that are open: from `register` to `welcome`, proof included.

The server runs in a process of its own and answers only what is on the disk. Beside it, in the same run and on the same
disk: one bare commit of SQLite with an fsync.
"""

import statistics
import tempfile
import time
from pathlib import Path

import apsw

from bench.load.clients import Node, Serving, register_all

WARM = 20


def bare_commit(count: int = 200) -> float:
    """Seconds of one INSERT with `synchronous=FULL` in WAL mode: the median."""
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as directory:
        connection = apsw.Connection(str(Path(directory) / "bare.db"))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.execute("CREATE TABLE row(id INTEGER PRIMARY KEY, body BLOB)")
        times = []
        for number in range(count):
            began = time.perf_counter()
            connection.execute("INSERT INTO row VALUES (?, ?)", (number, bytes(500)))
            times.append(time.perf_counter() - began)
        connection.close()
    return statistics.median(times)


class Run:
    """What one run of `clients` clients with `each` registrations gave."""

    def __init__(self, clients: int, each: int, sync_ms: float = 0.0) -> None:
        # A user each: what is measured is a registration, not telling the user's other machines of it.
        with Serving("ghostwire", WARM + clients * each, sync_ms) as serving:
            fresh = (Node(serving, key, f"node-{at}") for at, key in enumerate(serving.keys))
            warm = [next(fresh) for _ in range(WARM)]
            for node in warm:
                node.join()
            nodes = [[next(fresh) for _ in range(each)] for _ in range(clients)]
            before = serving.cpu_s
            times, total = register_all(nodes)
            self.cpu_us = (serving.cpu_s - before) / len(times) * 1e6
            for client in (warm, *nodes):
                for node in client:
                    node.connection.close()
        self.p50 = statistics.median(times)
        self.rate = len(times) / total


class Registrations:
    """1, 16 and 256 clients; and what group commit gives where a sync takes 2 ms longer."""

    timeout = 300

    def track_p50_over_bare_commit(self) -> float:
        return Run(1, 300).p50 / bare_commit()

    def track_rate_of_16_clients_over_1(self) -> float:
        return Run(16, 20).rate / Run(1, 200).rate

    def track_rate_of_256_clients_over_1(self) -> float:
        return Run(256, 4).rate / Run(1, 200).rate

    def track_rate_of_16_clients_over_1_with_slow_syncs(self) -> float:
        return Run(16, 20, sync_ms=2.0).rate / Run(1, 100, sync_ms=2.0).rate

    def track_server_cpu(self) -> float:
        return Run(16, 40).cpu_us


Registrations.track_server_cpu.unit = "us each"  # type: ignore[attr-defined]
