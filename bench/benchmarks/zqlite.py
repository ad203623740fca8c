"""Durable registrations in the store, from one client and from many, beside a bare synced commit on the same disk.

A registration has the shape of the real one: an insert into a table with three unique indexes, a guarded update, and
what the store adds by itself: row images, change row, hash.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path
from time import perf_counter

import apsw
import uvloop

from ghostwire import zqlite
from ghostwire.testing.crash import slow_disk
from ghostwire.zqlite import Operation, Statement

SCHEMA = """
CREATE TABLE node(id INTEGER PRIMARY KEY, name TEXT UNIQUE, node_key BLOB UNIQUE, machine_key BLOB, ipv4 INTEGER UNIQUE,
    ipv6 BLOB, owner INTEGER, os TEXT, version INTEGER, metadata BLOB);
CREATE TABLE preauth(id INTEGER PRIMARY KEY, uses INTEGER);
INSERT INTO preauth VALUES (1, 0)
"""
INSERT = "INSERT INTO node VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
USE = "UPDATE preauth SET uses = uses + 1 WHERE id = ? AND uses < ?"
EACH = 1500
ROUNDS = 3


def row(n: int) -> tuple[object, ...]:
    """A node: two random keys, and metadata of the mean size."""
    return (n, f"node-{n}", os.urandom(32), os.urandom(32), n, os.urandom(16), 1, "linux", 1, os.urandom(472))


def registration(n: int) -> Operation:
    """What the coordinator asks of the store."""
    return Operation(
        "node.register",
        "alice",
        (Statement(USE, (1, 1 << 60), 1), Statement(INSERT, row(n), 1)),  # type: ignore[arg-type]
    )


class Rates:
    """What one run of `clients` clients gave."""

    def __init__(self, each_second: float, commits: float, writer_us: float) -> None:
        self.each_second = each_second
        self.commits_per_operation = commits
        self.writer_us = writer_us


async def rate(db: zqlite.Store, clients: int, total: int, numbers: Iterator[int]) -> Rates:
    """`total` registrations by `clients` clients, each with one under way."""

    async def client() -> None:
        for _ in range(total // clients):
            await db.submit(registration(next(numbers)))

    before, started = db.stats, perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds, after = perf_counter() - started, db.stats
    done = total // clients * clients
    return Rates(
        done / seconds,
        (after["writer_commits"] - before["writer_commits"]) / done,
        (after["writer_busy_ns"] - before["writer_busy_ns"]) / done / 1000,
    )


@cache
def measured(added: float) -> dict[str, float]:
    """All figures of one kind of disk: they come from the same run."""
    return uvloop.run(measure(added))


async def measure(added: float) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        vfs = stack.enter_context(slow_disk(added)).vfs if added else None
        db = await zqlite.open(folder / "store.db", key=bytes(32), vfs=vfs)
        await db.execute(SCHEMA)
        numbers = count(1)
        await rate(db, 16, 256, numbers)
        for _ in range(ROUNDS):  # in turns, so that a busy moment of the machine hits all of them
            one = await rate(db, 1, EACH // 10, numbers)
            for clients in (16, 256):
                many = await rate(db, clients, EACH * (1 if clients == 16 else 4), numbers)
                found.setdefault(f"gain_{clients}", []).append(many.each_second / one.each_second)
                found.setdefault(f"commits_{clients}", []).append(many.commits_per_operation)
                found.setdefault(f"writer_us_{clients}", []).append(many.writer_us)
                found.setdefault(f"rate_{clients}", []).append(many.each_second)
            found.setdefault("over_bare", []).append(bare(folder) / one.each_second)
        await db.close()
    return {name: sorted(values)[ROUNDS // 2] for name, values in found.items()}


class Registration:
    """`track_gain_N`: N clients' rate over that of one; `track_over_bare`: a lone one's time over a bare commit's."""

    added = 0.0
    timeout = 600

    def setup(self) -> None:
        self.found = measured(self.added)

    def track_gain_16(self) -> float:
        return self.found["gain_16"]

    def track_gain_256(self) -> float:
        return self.found["gain_256"]

    def track_commits_each_at_16(self) -> float:
        return self.found["commits_16"]

    def track_writer_us_at_16(self) -> float:
        return self.found["writer_us_16"]

    def track_writer_us_at_256(self) -> float:
        return self.found["writer_us_256"]

    def track_rate_256(self) -> float:
        return self.found["rate_256"]

    def track_over_bare(self) -> float:
        return self.found["over_bare"]


class RegistrationOnASlowDisk(Registration):
    """The same with 2 ms added to each sync; `over_bare` stays the bare commit without them."""

    added = 0.002


def bare(folder: Path) -> float:
    """Commits a second of one row by plain apsw, WAL and synced, in the same folder."""
    path = folder / f"bare-{perf_counter()}.db"
    connection = apsw.Connection(os.fspath(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.execute("CREATE TABLE t(a)").fetchall()
    started = perf_counter()
    for n in range(EACH // 10):
        connection.execute("INSERT INTO t VALUES (?)", (n,)).fetchall()
    seconds = perf_counter() - started
    connection.close()
    return EACH // 10 / seconds
