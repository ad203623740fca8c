"""Column blocks: what they save of node metrics, how fast they come and go, and what the cache of decoded ones earns.

The metrics are those of heartbeats 30 s apart: clocks that jitter by milliseconds, a load that wanders, latencies that
scatter by an eighth around their mean, traffic in bursts. `baseline` is the same samples as rows of a plain SQLite
table.
"""

import random
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw
import numpy as np
import uvloop
import zstandard

from ghostwire import zqlite
from ghostwire._native import blocks
from ghostwire.zqlite import changelog, rowblocks, series
from ghostwire.zqlite.changelog import INSERT
from ghostwire.zqlite.series import Column, Schema, window
from tests.reference.blocks import Lru

START = 1_700_000_000_000_000_000
NODES, WEEK = 20, 7 * 2880
NEWEST = 100
ROUNDS = 7
SCHEMA = Schema(
    name="metrics",
    key="node",
    columns=(
        Column("load_factor", "real"),
        Column("latency_ms", "real"),
        Column("bandwidth_mbps", "real"),
        Column("uptime_seconds", "integer"),
        Column("bytes_in", "integer"),
        Column("bytes_out", "integer"),
    ),
)


def heartbeats(node: int, count: int) -> tuple[Any, list[Any]]:
    """Times and columns of a node's samples."""
    draw = np.random.default_rng(node)
    jitter = draw.normal(0, 5, count).astype(np.int64) * 1_000_000
    at = START + np.arange(count) * 30_000_000_000 + jitter
    load = np.round(np.clip(0.5 + np.cumsum(draw.normal(0, 0.02, count)) % 1, 0, None), 3)
    latency = np.round(np.abs(draw.normal(12, 1.5, count)), 1)
    bandwidth = np.round(np.where(draw.random(count) < 0.8, 0, draw.exponential(3, count)), 3)
    moved = (bandwidth * 1e6 / 8 * 30).astype(np.int64) + 444
    return at, [load, latency, bandwidth, np.arange(count) * 30, np.cumsum(moved * 7 // 10), np.cumsum(moved * 3 // 10)]


def best(work: Callable[[], object], count: int = 1) -> float:
    """Seconds of the quickest of some rounds, for one of `count` that a round does."""
    times = []
    for _ in range(ROUNDS):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return min(times) / count


class Blocks:
    """One full block of node metrics."""

    def setup(self) -> None:
        size = SCHEMA.capacity
        at, values = heartbeats(1, size)
        self.block = blocks.Block.of(SCHEMA.kinds, [at, *(np.ascontiguousarray(v) for v in values)])
        self.sealer = blocks.Sealer(bytes(16), bytes(32))
        self.sealed = self.sealer.seal(self.block, b"series", 1, 1, bytes(12))

    def open(self) -> None:
        for _ in range(100):
            self.sealer.open(self.sealed, b"series", 1)

    def time_open(self) -> None:
        self.sealer.open(self.sealed, b"series", 1)

    def time_seal(self) -> None:
        self.sealer.seal(self.block, b"series", 1, 1, bytes(12))

    def track_decode_gigabytes_each_second(self) -> float:
        """Of decoded values; authentication and decryption counted in."""
        return self.block.weight / best(self.open, 100) / 1e9


class Series:
    """A week of the metrics of 20 nodes in a store."""

    timeout = 600

    def setup(self) -> None:
        self.found = measured()

    def track_saved_by_blocks(self) -> float:
        """Of the rows that are in blocks, sealed."""
        return self.found["saved"]

    def track_saved_of_the_file(self) -> float:
        """With 100 open samples of each node, the index and what pages leave empty."""
        return self.found["saved_file"]

    def track_loaded_million_points_each_second(self) -> float:
        return self.found["loaded"]

    def track_appended_million_points_each_second(self) -> float:
        return self.found["appended"]

    def track_window_in_the_cache_us(self) -> float:
        return self.found["hit_us"]

    def track_miss_over_hit(self) -> float:
        return self.found["miss_us"] / self.found["hit_us"]

    def track_sqlite_over_hit(self) -> float:
        return self.found["sqlite_us"] / self.found["hit_us"]


@cache
def measured() -> dict[str, float]:
    folder = Path(tempfile.mkdtemp())
    try:
        found = uvloop.run(measure(folder))
        plain, found["sqlite_us"] = baseline(folder / "plain.db")
    finally:
        shutil.rmtree(folder)
    found["saved"] = 1 - found["block_row"] / (plain / (NODES * WEEK))
    found["saved_file"] = 1 - found["file"] / plain
    return found


async def measure(folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    async with await zqlite.open(folder / "store.db", key=bytes(32), durability="lazy") as db:
        kept = await series.create(db, SCHEMA)
        found["loaded"] = await load(kept)
        hour = START + 1000 * 30_000_000_000, START + 1120 * 30_000_000_000
        await kept.window(1, *hour)

        def hits() -> None:
            for _ in range(1000):
                assert kept.peek(1, *hour) is not None

        with db.read() as reader:
            known = db.shelf.find(reader.connection, SCHEMA.name)

            def misses() -> None:
                for _ in range(100):
                    db.shelf.cache.forget_owner(known.owner)
                    window.read(reader.connection, db.shelf, known, 1, *hour)

            sealed, rows = reader.query("SELECT sum(length(data)), sum(rows) FROM zq_block")[0]
            found["block_row"] = sealed / rows
            found["hit_us"], found["miss_us"] = best(hits, 1000) * 1e6, best(misses, 100) * 1e6
    found["file"] = (folder / "store.db").stat().st_size
    async with await zqlite.open(folder / "open.db", key=bytes(32), durability="lazy") as db:
        found["appended"] = await append(await series.create(db, SCHEMA))
    return found


async def load(kept: series.Series) -> float:
    """A week of each node at once, but for its newest samples; million points a second, of the best node."""
    rates, count = [], WEEK - NEWEST
    for node in range(NODES):
        at, values = heartbeats(node, WEEK)
        started = perf_counter()
        await kept.load(node, at[:count], [column[:count] for column in values])
        rates.append(count * len(values) / (perf_counter() - started) / 1e6)
        rows = zip(at[count:].tolist(), *(column[count:].tolist() for column in values), strict=True)
        await kept.append([(node, *row) for row in rows])
    return max(rates)


async def append(kept: series.Series) -> float:
    """One sample of each of 2,000 nodes at a time, as heartbeats come; million points a second, of the best flush."""
    at, values = heartbeats(1, 40)
    rates = []
    for step in range(40):
        row = [column[step].item() for column in values]
        samples = [(node, int(at[step]), *row) for node in range(2000)]
        started = perf_counter()
        await kept.append(samples)
        rates.append(len(samples) * len(values) / (perf_counter() - started) / 1e6)
    return max(rates)


def baseline(path: Path) -> tuple[int, float]:
    """The same week as rows: bytes of the file, and microseconds for the same hour of one node."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute(
        "CREATE TABLE metrics(node INTEGER, at INTEGER, load_factor REAL, latency_ms REAL, bandwidth_mbps REAL, "
        "uptime_seconds INTEGER, bytes_in INTEGER, bytes_out INTEGER, PRIMARY KEY (node, at)) WITHOUT ROWID"
    )
    with connection:
        for node in range(NODES):
            at, values = heartbeats(node, WEEK)
            rows = zip(at.tolist(), *(column.tolist() for column in values), strict=True)
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)", ((node, *r) for r in rows))
    hour = (1, START + 1000 * 30_000_000_000, START + 1120 * 30_000_000_000)

    def read() -> None:
        for _ in range(100):
            connection.execute("SELECT * FROM metrics WHERE node = ? AND at >= ? AND at < ?", hour).fetchall()

    microseconds = best(read, 100) * 1e6
    connection.close()
    return path.stat().st_size, microseconds


class Snapshot:
    """20,000 nodes in a snapshot of the store: 64 bytes of each are random keys that nothing makes smaller."""

    def setup(self) -> None:
        draw = random.Random(1)
        self.entries = [(1, INSERT, number, node(draw, number)) for number in range(1, 20_001)]

    def track_saved_beside_packed_rows(self) -> float:
        """Beside the same rows as msgpack, compressed by zstd in pieces of 4,096."""
        return 1 - self.blocks() / self.rows()

    def track_saved_beside_packed_rows_without_keys(self) -> float:
        keys = 64 * len(self.entries)
        return 1 - (self.blocks() - keys) / (self.rows() - keys)

    def blocks(self) -> int:
        count = rowblocks.fits(len(self.entries[0][3]))
        pieces = (self.entries[start : start + count] for start in range(0, len(self.entries), count))
        return sum(len(packed) for packed in map(rowblocks.pack, pieces) if packed is not None)

    def rows(self) -> int:
        packer = zstandard.ZstdCompressor(level=3)
        pieces = (self.entries[start : start + 4096] for start in range(0, len(self.entries), 4096))
        return sum(len(packer.compress(changelog.row_body(0, piece))) for piece in pieces)


def node(draw: random.Random, number: int) -> tuple[Any, ...]:
    """A row of the coordinator's table of nodes."""
    return (
        *(number, number - 1, f"node-{number}", draw.randbytes(32), draw.randbytes(32)),
        *(f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", f"fd7a:115c:a1e0::{number:x}"),
        *(
            draw.randrange(1, 50),
            "[]",
            0,
            "node",
            "eu",
            draw.choice(["DE", "FR", "US"]),
            draw.choice(["linux", "darwin"]),
        ),
        *(f"0.1.{draw.randrange(5)}", "[]", "[]", "", b"", "active", START + number * 977_123_456, 0, 0),
        *(draw.choice([None, draw.randrange(100)]), 1),
    )


class Cache:
    """Hit ratios on the reads of a coordinator: hot nodes, with a scan over all of them now and then."""

    def setup(self) -> None:
        self.found = replayed()

    def track_hit_ratio_sieve(self) -> float:
        return self.found[0]

    def track_hit_ratio_lru(self) -> float:
        return self.found[1]


@cache
def replayed() -> tuple[float, float]:
    draw = np.random.default_rng(7)
    hot = (draw.zipf(1.2, 40_000) % 2000).tolist()
    trace: list[int] = []
    for at in range(0, len(hot), 4000):
        trace += hot[at : at + 4000] + list(range(2000))
    block = blocks.Block.of("i", [np.zeros(1, np.int64)])
    sealer = blocks.Sealer(bytes(16), bytes(32))
    sealed = [sealer.seal(block, b"series", n, 1, bytes(12)) for n in range(2000)]
    sieve, lru = blocks.Cache(200 * block.weight), Lru(200 * block.weight)
    for number in trace:
        sieve.fetch(0, number, sealer, b"series", lambda number=number: sealed[number])
        lru.fetch(number, block.weight)
    return sieve.counters()["hits"] / len(trace), lru.hits / len(trace)
