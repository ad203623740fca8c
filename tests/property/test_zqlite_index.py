"""Whatever is done to a table, its indexes answer as plain SQL does, to each reader as of its own moment."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ghostwire import zqlite
from ghostwire.errors import ConflictError

KEY = bytes(range(32))
EXAMPLES = int(os.environ.get("GHOSTWIRE_INDEX_EXAMPLES", "60"))
MEMORY = Path("/dev/shm")

NETWORKS = (
    None, "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/24", "10.1.0.7", "10.1.0.7/32", "255.255.255.255",
    "::/0", "fd00::/8", "fd00:1::/32", "fd00:1::/127", "fd00:1::1", "::ffff:10.1.0.7",
)  # fmt: skip
ASKED = (
    "10.1.0.7",
    "10.1.0.8",
    "10.200.0.0",
    "192.0.2.1",
    "fd00:1::1",
    "fd00:2::",
    "2001:db8::",
    "10.1.0.0/16",
    "::/1",
)
COLOURS = (None, "red", "green", 1, 1.0, b"red", "")

networks, colours, keys = st.sampled_from(NETWORKS), st.sampled_from(COLOURS), st.integers(-3, 12)


def holding(rows: list[Any], asked: str) -> list[tuple[int, int]]:
    """The obvious way to find the networks that hold an address."""
    wanted = ipaddress.ip_network(asked)
    found = []
    for rowid, text in rows:
        network = None if text is None else ipaddress.ip_network(text)
        if network and network.version == wanted.version and wanted.subnet_of(network):  # type: ignore[arg-type]
            found.append((rowid, network.prefixlen))
    return sorted(found, key=lambda one: (-one[1], one[0]))


def check(ask: Callable[..., list[Any]], table: str) -> None:
    rows = [tuple(row) for row in ask(f"SELECT rowid, prefix FROM {table}")]
    for asked in ASKED:
        expected = holding(rows, asked)
        assert [tuple(row) for row in ask("SELECT id, length FROM cidr_rows('by_prefix', ?)", (asked,))] == expected
        assert ask("SELECT cidr_lookup('by_prefix', ?)", (asked,))[0][0] == (expected[0][0] if expected else None)
    for colour in COLOURS:
        expected = sorted(rowid for (rowid,) in ask(f"SELECT rowid FROM {table} WHERE colour IS ?", (colour,)))
        assert (
            sorted(row[0] for row in ask("SELECT id FROM bitmap_rows(bitmap('by_colour', ?))", (colour,))) == expected
        )
        held = [] if colour is None else expected
        assert [row[0] for row in ask("SELECT id FROM hash_rows('by_hash', ?)", (colour,))] == held
        assert ask("SELECT hash_lookup('by_hash', ?)", (colour,))[0][0] == (held[0] if held else None)
    both = ask(f"SELECT count(*) FROM {table} WHERE colour IN ('red', 1) AND NOT prefix LIKE '%:%'")
    without = ask(
        "SELECT bitmap_count(bitmap_andnot(bitmap_or(bitmap('by_colour', 'red'), bitmap('by_colour', 1)), "
        "bitmap_and(bitmap('by_colour'), bitmap('by_six', 1), bitmap('by_six', 1)), bitmap('by_six', NULL)))"
    )
    assert without == both


class IndexesAreTheTable(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.table = "t"
        self.readers: list[tuple[Any, Any, str]] = []

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def do(self, sql: str, *params: Any) -> None:
        with contextlib.suppress(ConflictError):
            self.run(self.db.execute(sql.format(t=self.table), params))

    async def open(self) -> None:
        self.db = await zqlite.open(self.directory / "s.db", key=KEY, durability="lazy", readers=(1, 8))

    @initialize()
    def create(self) -> None:
        self.run(self.open())
        self.do(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, prefix TEXT, colour, six AS (prefix LIKE '%:%') STORED);"
            "CREATE BITMAP INDEX by_six ON t(six); CREATE CIDR INDEX by_prefix ON t(PREFIX);"
            "CREATE BITMAP INDEX by_colour ON t(colour); CREATE HASH INDEX by_hash ON t(colour)"
        )

    @rule(key=keys, prefix=networks, colour=colours)
    def put(self, key: int, prefix: str | None, colour: Any) -> None:
        self.do("INSERT OR REPLACE INTO {t}(id, prefix, colour) VALUES (?, ?, ?)", key, prefix, colour)

    @rule(key=keys, prefix=networks, colour=colours)
    def change(self, key: int, prefix: str | None, colour: Any) -> None:
        self.do("UPDATE {t} SET prefix = ?, colour = ? WHERE id > ?", prefix, colour, key)

    @rule(key=keys, by=st.sampled_from([-1, 1, 100, -100]))
    def move(self, key: int, by: int) -> None:
        self.do("UPDATE {t} SET id = id + ? WHERE id < ?", by, key)

    @rule(key=keys)
    def delete(self, key: int) -> None:
        self.do("DELETE FROM {t} WHERE id = ?", key)

    @rule(rows=st.lists(st.tuples(keys, networks, colours), max_size=4), keep=st.booleans())
    def transact(self, rows: list[Any], keep: bool) -> None:
        """What a transaction has written it sees by its indexes too; others see it only if it ends well."""

        async def work() -> None:
            async with self.db.transaction() as tx:
                await tx.executemany(f"INSERT OR REPLACE INTO {self.table}(id, prefix, colour) VALUES (?, ?, ?)", rows)
                await tx.execute(f"DELETE FROM {self.table} WHERE id = 5")
                written = await tx.query(f"SELECT rowid, prefix FROM {self.table}")
                for asked in ASKED[:3]:
                    expected = holding(written, asked)
                    found = await tx.query("SELECT id, length FROM cidr_rows('by_prefix', ?)", (asked,))
                    assert [tuple(row) for row in found] == expected
                if not keep:
                    raise KeyError("on purpose")

        with contextlib.nullcontext() if keep else pytest.raises(KeyError):
            self.run(work())

    @rule()
    def rename(self) -> None:
        name = "u" if self.table == "t" else "t"
        self.do(f"ALTER TABLE {self.table} RENAME TO {name}")
        self.table = name

    @rule()
    def declare_again(self) -> None:
        self.do("DROP INDEX by_colour; CREATE BITMAP INDEX by_colour ON {t}(colour)")

    @rule()
    def rebuild(self) -> None:
        self.do(
            "CREATE TABLE other(id INTEGER PRIMARY KEY, extra, prefix TEXT, colour, six AS (prefix LIKE '%:%') STORED);"
            "INSERT INTO other(id, prefix, colour) SELECT id, prefix, colour FROM {t} WHERE id <> 3;"
            "DROP TABLE {t}; ALTER TABLE other RENAME TO {t};"
            "CREATE BITMAP INDEX by_six ON {t}(six); CREATE CIDR INDEX by_prefix ON {t}(prefix);"
            "CREATE BITMAP INDEX by_colour ON {t}(colour); CREATE HASH INDEX by_hash ON {t}(colour)"
        )

    @rule()
    def retain(self) -> None:
        self.run(self.db.retain(self.run(self.db.snapshot()).seq))

    @rule(look=st.booleans())
    def hold(self, look: bool) -> None:
        """A reader that stays at its moment, whether or not it has used an index by then."""
        if len(self.readers) == 4:
            self.release()
        held = self.db.read()
        reader = held.__enter__()
        reader.query("SELECT 1 FROM sqlite_schema")
        if look:
            check(reader.query, self.table)
        self.readers.append((held, reader, self.table))

    def release(self) -> None:
        held, reader, table = self.readers.pop(0)
        try:
            check(reader.query, table)
        finally:
            held.__exit__(None, None, None)

    @rule()
    def reopen(self) -> None:
        while self.readers:
            self.release()
        self.run(self.db.close())
        self.run(self.open())

    @rule()
    def look_back(self) -> None:
        with self.run(self.db.as_of(self.db.head.ts)) as past:
            check(past.query, self.table)

    @rule()
    def look(self) -> None:
        with self.db.read() as reader:
            check(reader.query, self.table)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            try:
                self.look()
                while self.readers:
                    self.release()
            finally:
                for held, _, _ in self.readers:
                    held.__exit__(None, None, None)
                self.run(self.db.close())
        self.runner.close()
        shutil.rmtree(self.directory)


TestIndexesAreTheTable = IndexesAreTheTable.TestCase
TestIndexesAreTheTable.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
