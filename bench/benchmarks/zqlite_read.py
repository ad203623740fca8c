"""Reads: point queries in a read transaction, one by one and batched, and what encryption costs them and bulk loads."""

import asyncio
import os
import random
import shutil
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw
import uvloop

from bench.benchmarks.zqlite import INSERT, SCHEMA, row
from ghostwire import zqlite
from ghostwire.zqlite import engine

NODES = 20_000
POINT = "SELECT name, node_key, ipv4 FROM node WHERE id = ?"
ROUNDS = 5


class Filled:
    """A store of 20,000 nodes and 1,000 of their ids."""

    def setup(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.loop = uvloop.new_event_loop()
        self.db = self.loop.run_until_complete(filled(self.folder / "store.db"))
        draw = random.Random(1)
        self.ids = [(draw.randrange(1, NODES),) for _ in range(1000)]

    def teardown(self) -> None:
        self.loop.run_until_complete(self.db.close())
        self.loop.close()
        shutil.rmtree(self.folder)


class Reads(Filled):
    """`time_*` are 1,000 point queries in one read transaction."""

    gate_calls = 20

    def time_point_queries(self) -> None:
        with self.db.read() as reader:
            query = reader.query
            for key in self.ids:
                query(POINT, key)

    def time_point_queries_batched(self) -> None:
        with self.db.read() as reader:
            reader.query_many(POINT, self.ids)

    def track_point_queries_each_second(self) -> float:
        return best_rate(self.time_point_queries, len(self.ids))

    def track_batched_point_queries_each_second(self) -> float:
        return best_rate(self.time_point_queries_batched, len(self.ids))

    def track_point_queries_over_plain_apsw(self) -> float:
        """The time of `db.read()` over that of a bare, unencrypted apsw connection in one transaction."""
        plain = apsw.Connection(os.fspath(self.folder / "plain.db"))
        plain.pragma("cache_size", -engine.READER_CACHE_BYTES // 1024)
        fill(plain)
        execute = plain.cursor().execute
        ratios = []
        for _ in range(ROUNDS):
            with plain:
                started = perf_counter()
                for key in self.ids:
                    execute(POINT, key).fetchall()
                bare = perf_counter() - started
            started = perf_counter()
            self.time_point_queries()
            ratios.append((perf_counter() - started) / bare)
        plain.close()
        return sorted(ratios)[ROUNDS // 2]


class Awaited(Filled):
    """The same, each awaited, through the read pool's threads."""

    def time_point_queries(self) -> None:
        async def ask() -> None:
            await asyncio.gather(*(self.db.query(POINT, key) for key in self.ids))

        self.loop.run_until_complete(ask())


class Encryption:
    """The time of the same work on a connection as the store opens it, over that of a plain one."""

    timeout = 600

    def track_bulk_load(self) -> float:
        return self._ratio(lambda folder, cipher: timed(lambda: connected(folder, cipher, fill)))

    def track_commit(self) -> float:
        folder = Path(tempfile.mkdtemp())
        ratio = commits(folder)
        shutil.rmtree(folder)
        return ratio

    def track_warm_point_queries(self) -> float:
        return self._ratio(lambda folder, cipher: connected(folder, cipher, warm))

    def track_cold_scan(self) -> float:
        return self._ratio(lambda folder, cipher: cold(folder, cipher))

    def _ratio(self, measure: Any) -> float:
        ratios = []
        for _ in range(ROUNDS):
            folder = Path(tempfile.mkdtemp())
            ratios.append(measure(folder, "aegis") / measure(folder, ""))
            shutil.rmtree(folder)
        return sorted(ratios)[ROUNDS // 2]


class Bulk:
    """`executemany` of 20,000 rows with three unique indexes, row images and change row included: rows a second."""

    timeout = 600

    def track_rows_each_second(self) -> float:
        async def load() -> float:
            folder = Path(tempfile.mkdtemp())
            async with await zqlite.open(folder / "store.db", key=bytes(32)) as db:
                await db.execute(SCHEMA)
                rows = [row(n) for n in range(NODES)]
                started = perf_counter()
                await db.executemany(INSERT, rows)  # type: ignore[arg-type]
                seconds = perf_counter() - started
            shutil.rmtree(folder)
            return NODES / seconds

        return max(uvloop.run(load()) for _ in range(3))


async def filled(path: Path) -> zqlite.Store:
    db = await zqlite.open(path, key=bytes(32))
    await db.execute(SCHEMA)
    await db.executemany(INSERT, [row(n) for n in range(NODES)])  # type: ignore[arg-type]
    return db


def fill(connection: apsw.Connection) -> None:
    connection.execute(SCHEMA).fetchall()
    with connection:
        connection.executemany(INSERT, (row(n) for n in range(NODES))).fetchall()  # type: ignore[arg-type]


def best_rate(work: Any, each: int) -> float:
    """How many of `each` in one call to `work` a second, undisturbed."""
    return each / min(timed(work) for _ in range(50))


def timed(work: Any) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def opened(folder: Path, cipher: str) -> apsw.Connection:
    connection = apsw.Connection(os.fspath(folder / f"{cipher or 'plain'}.db"))
    if cipher:
        connection.pragma("cipher", cipher)
        connection.pragma("key", "raw:" + "ab" * 32)
    connection.pragma("journal_mode", "wal")
    return connection


def connected(folder: Path, cipher: str, work: Any) -> Any:
    connection = opened(folder, cipher)
    try:
        return work(connection)
    finally:
        connection.close()


def commits(folder: Path) -> float:
    """The median time of a synced commit of a row: encrypted over plain, in turns on one disk."""
    connections = [opened(folder, cipher) for cipher in ("aegis", "")]
    times: list[list[float]] = [[], []]
    for connection in connections:
        connection.pragma("synchronous", "FULL")
        connection.execute(SCHEMA).fetchall()
    for n in range(300):
        values = row(n)
        for connection, found in zip(connections, times, strict=True):
            found.append(timed(lambda: connection.execute(INSERT, values).fetchall()))  # noqa: B023
    for connection in connections:
        connection.close()
    encrypted, plain = (sorted(found)[len(found) // 2] for found in times)
    return encrypted / plain


def warm(connection: apsw.Connection) -> float:
    fill(connection)
    connection.pragma("cache_size", -65536)
    draw = random.Random(1)
    execute = connection.cursor().execute
    ids = [(draw.randrange(1, NODES),) for _ in range(20_000)]
    with connection:
        for key in ids:
            execute(POINT, key).fetchall()
        return timed(lambda: [execute(POINT, key).fetchall() for key in ids])


def cold(folder: Path, cipher: str) -> float:
    connected(folder, cipher, fill)
    return timed(
        lambda: connected(
            folder, cipher, lambda connection: connection.execute("SELECT sum(length(metadata)) FROM node").fetchall()
        )
    )
