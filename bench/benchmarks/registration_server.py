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
FULL = 220
"""Registrations after which the server's WAL has its full length."""
TURN = 20


class Bare:
    """One INSERT with `synchronous=FULL` in WAL mode: what an answer that is on the disk costs at the least.

    Its WAL has its full length from the start, as the server's has by then: a file that grows costs the file system
    more.
    """

    def __init__(self, directory: str) -> None:
        self.connection = apsw.Connection(str(Path(directory) / "bare.db"))
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", "full")
        self.connection.execute("CREATE TABLE row(id INTEGER PRIMARY KEY, body BLOB)")
        self.connection.execute("INSERT INTO row(body) VALUES (zeroblob(8000000))")
        self.connection.execute("DELETE FROM row")
        self.connection.pragma("wal_checkpoint(restart)")

    def commit(self) -> float:
        """Seconds of one."""
        began = time.perf_counter()
        self.connection.execute("INSERT INTO row(body) VALUES (?)", (bytes(500),))
        return time.perf_counter() - began


def one_by_one(count: int = 300) -> float:
    """Registrations and bare commits in turns, so that both meet the same disk and machine: the ratio of medians.

    Twenty at a time: right after a sync of another file the next one waits for what that left to be done.
    """
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as directory, Serving("ghostwire", FULL + count) as serving:
        nodes = [Node(serving, key, f"node-{at}") for at, key in enumerate(serving.keys)]
        for node in nodes[:FULL]:
            node.join()
        bare = Bare(directory)
        registrations, commits = [], []
        for at in range(FULL, len(nodes), TURN):
            registrations += register_all([nodes[at : at + TURN]])[0]
            commits += [bare.commit() for _ in range(TURN)]
        bare.connection.close()
        for node in nodes:
            node.connection.close()
    return statistics.median(registrations) / statistics.median(commits)


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
            before, counted = serving.cpu_s, serving.counters()
            times, total = register_all(nodes)
            self.cpu_us = (serving.cpu_s - before) / len(times) * 1e6
            self.counted = {name: count - counted[name] for name, count in serving.counters().items() if count}
            for client in (warm, *nodes):
                for node in client:
                    node.connection.close()
        self.rate = len(times) / total


class Registrations:
    """1, 16 and 256 clients; and what group commit gives where a sync takes 2 ms longer."""

    timeout = 300

    def track_p50_over_bare_commit(self) -> float:
        return one_by_one()

    def track_rate_of_16_clients_over_1(self) -> float:
        return Run(16, 20).rate / Run(1, 200).rate

    def track_rate_of_256_clients_over_1(self) -> float:
        return Run(256, 4).rate / Run(1, 200).rate

    def track_rate_of_16_clients_over_1_with_slow_syncs(self) -> float:
        return Run(16, 20, sync_ms=2.0).rate / Run(1, 100, sync_ms=2.0).rate

    def track_syncs_a_batch(self) -> float:
        """Checkpoints included, which sync twice."""
        counted = Run(16, 20, sync_ms=2.0).counted
        return counted["syncs"] / counted["writer_commits"]

    def track_registrations_a_batch(self) -> float:
        counted = Run(16, 20, sync_ms=2.0).counted
        return counted["writer_operations"] / counted["writer_commits"]

    def track_server_cpu(self) -> float:
        return Run(16, 40).cpu_us


Registrations.track_server_cpu.unit = "us each"  # type: ignore[attr-defined]
