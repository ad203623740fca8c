"""The store's own kinds of index beside the plain B-tree, each at its own job, on the same rows and readers.

`track_*` are the B-tree's time over the index's, in turns within one run: above 1 the index is faster.
"""

import hashlib
import ipaddress
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from ghostwire import zqlite

ROWS = int(os.environ.get("GHOSTWIRE_BENCH_INDEX_ROWS", "200000"))
ROUNDS = 5
OSES = ("linux", "macos", "windows", "android", "ios")


def address(n: int) -> str:
    """A wallet's: random text of 42 characters."""
    return "0x" + hashlib.sha256(n.to_bytes(8)).hexdigest()[:40]


class Filled:
    """A store whose table is declared and filled by the class."""

    schema = ""
    insert = ""
    timeout = 600

    def rows(self, draw: random.Random) -> Iterable[tuple[Any, ...]]:
        """What to insert."""
        return ()

    def setup(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.loop = uvloop.new_event_loop()
        self.draw = random.Random(1)
        self.db = self.loop.run_until_complete(zqlite.open(self.folder / "store.db", key=bytes(32)))
        self.do(self.schema)
        self.loop.run_until_complete(self.db.executemany(self.insert, list(self.rows(self.draw))))

    def teardown(self) -> None:
        self.loop.run_until_complete(self.db.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def do(self, sql: str) -> None:
        self.loop.run_until_complete(self.db.execute(sql))

    def gain(self, plain: str, index: str, many: list[tuple[Any, ...]]) -> float:
        """Both questions for each of `many`; the answers must be the same."""
        ratios = []
        for _ in range(ROUNDS):
            with self.db.read() as reader:
                reader.query(index, many[0])
                one, expected = timed(lambda: [reader.query(plain, params) for params in many])
                other, found = timed(lambda: [reader.query(index, params) for params in many])
            assert found == expected
            ratios.append(one / other)
        return sorted(ratios)[ROUNDS // 2]


class HashIndex(Filled):
    """One row by a random key of 42 characters, among rows that do not all fit into a reader's page cache."""

    schema = (
        "CREATE TABLE wallet(address TEXT, balance TEXT, note BLOB); CREATE HASH INDEX by_address ON wallet(address)"
    )
    insert = "INSERT INTO wallet VALUES (?, ?, ?)"

    def rows(self, draw: random.Random) -> Iterable[tuple[Any, ...]]:
        return ((address(n), str(n), draw.randbytes(100)) for n in range(ROWS))

    def track_random_keys(self) -> float:
        return self._track([(address(self.draw.randrange(ROWS)),) for _ in range(5000)])

    def track_keys_that_are_in_the_page_cache(self) -> float:
        return self._track([(address(n * 7),) for n in range(100)] * 50)

    def _track(self, keys: list[tuple[Any, ...]]) -> float:
        return self.gain(
            "SELECT balance FROM wallet WHERE address = ?",
            "SELECT balance FROM wallet WHERE rowid = hash_lookup('by_address', ?)",
            keys,
        )


class BitmapIndex(Filled):
    """Conditions on columns of few values, which B-trees of them answer one at a time."""

    schema = (
        "CREATE TABLE node(os TEXT, region TEXT, online INT, name TEXT);"
        "CREATE INDEX os ON node(os); CREATE INDEX region ON node(region); CREATE INDEX online ON node(online);"
        "CREATE BITMAP INDEX oses ON node(os); CREATE BITMAP INDEX regions ON node(region);"
        "CREATE BITMAP INDEX onlines ON node(online)"
    )
    insert = "INSERT INTO node VALUES (?, ?, ?, ?)"
    both = (
        "bitmap_and(bitmap('onlines', 1), bitmap_or(bitmap('oses', ?1), bitmap('oses', ?2)), bitmap('regions', ?3, ?4))"
    )
    where = "online = 1 AND (os = ?1 OR os = ?2) AND region IN (?3, ?4)"

    def rows(self, draw: random.Random) -> Iterable[tuple[Any, ...]]:
        return ((draw.choice(OSES), f"r{draw.randrange(20)}", draw.random() < 0.3, f"node-{n}") for n in range(ROWS))

    def asked(self) -> list[tuple[Any, ...]]:
        return [(*self.draw.sample(OSES, 2), *(f"r{n}" for n in self.draw.sample(range(20), 2))) for _ in range(5)]

    def track_counts(self) -> float:
        counted = f"SELECT count(*) FROM node WHERE {self.where}"
        return self.gain(counted, f"SELECT bitmap_count({self.both})", self.asked())

    def track_rows(self) -> float:
        listed = f"SELECT sum(length(name)) FROM node WHERE {self.where}"
        found = f"SELECT sum(length(name)) FROM bitmap_rows({self.both}) AS found JOIN node ON node.rowid = found.id"
        return self.gain(listed, found, self.asked())

    def track_rows_of_one_condition(self) -> float:
        found = "SELECT sum(length(name)) FROM bitmap_rows(bitmap('regions', ?)) f JOIN node ON node.rowid = f.id"
        regions = [(f"r{n}",) for n in range(5)]
        return self.gain("SELECT sum(length(name)) FROM node WHERE region = ?", found, regions)


class CidrIndex(Filled):
    """The longest prefix that holds an address, beside a B-tree of first and last address."""

    schema = (
        "CREATE TABLE route(prefix TEXT, hop TEXT); CREATE CIDR INDEX by_prefix ON route(prefix);"
        "CREATE INDEX by_first ON route(cidr_first(prefix), cidr_last(prefix))"
    )
    insert = "INSERT INTO route VALUES (?, ?)"
    prefixes = 20_000

    def rows(self, draw: random.Random) -> Iterable[tuple[Any, ...]]:
        found = {}
        for n in range(self.prefixes):
            size = draw.choice((8, 8, 8, 10, 12, 16))
            network = ipaddress.ip_network((draw.getrandbits(32) >> size << size, 32 - size))
            found[str(network)] = f"hop-{n}"
        found["0.0.0.0/0"] = "default"
        return found.items()

    def track_longest_prefix(self) -> float:
        plain = (
            "SELECT hop FROM route WHERE cidr_first(prefix) <= cidr_first(?1) AND cidr_last(prefix) >= cidr_last(?1) "
            "ORDER BY cidr_first(prefix) DESC, cidr_last(prefix) LIMIT 1"
        )
        found = "SELECT hop FROM route WHERE rowid = cidr_lookup('by_prefix', ?1)"
        asked = [(str(ipaddress.ip_address(self.draw.getrandbits(32))),) for _ in range(200)]
        return self.gain(plain, found, asked)


class Following(Filled):
    """What a write costs the next reader of an index, in us, beside building it."""

    schema = HashIndex.schema
    insert = HashIndex.insert
    rows = HashIndex.rows  # type: ignore[assignment]

    def track_first_read_after_a_write_us(self) -> float:
        question = "SELECT hash_lookup('by_address', 'none')"
        with self.db.read() as reader:
            reader.query(question)
        times = []
        for n in range(200):
            self.do(f"INSERT INTO wallet VALUES ('0x{n}', '', NULL)")
            with self.db.read() as reader:
                times.append(timed(lambda: reader.query(question))[0])
        return sorted(times)[100] * 1e6


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = perf_counter()
    found = work()
    return perf_counter() - started, found
