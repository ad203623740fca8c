"""A table with sealed columns holds what a dict does, through rotation, training, renames, reopening and time."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ghostwire import zqlite

KEY = bytes(range(32))
EXAMPLES = int(os.environ.get("GHOSTWIRE_SEALED_EXAMPLES", "12"))

keys = st.integers(0, 12)
values = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.floats(allow_nan=False)
)
names = st.sampled_from(["secret", "hidden", "S p"])


class SealedTable(RuleBasedStateMachine):
    """Against a dict of the rows, and of the rows at moments that are over."""

    @initialize(keyed=st.booleans(), cipher=st.sampled_from(["aegis", "chacha20"]))
    def make(self, keyed: bool, cipher: Any) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.cipher = cipher
        self.db = self.run(zqlite.open(self.folder / "store.db", key=KEY, cipher=cipher))
        key = "PRIMARY KEY" if keyed else ""
        self.run(self.db.execute(f"CREATE TABLE t(id INTEGER {key}, secret ENCRYPTED, both ENCRYPTED COMPRESSED)"))
        self.name = "secret"
        self.rows: dict[int, tuple[Any, Any]] = {}
        self.moments: list[tuple[int, str, dict[int, tuple[Any, Any]]]] = []

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    @property
    def column(self) -> str:
        return '"' + self.name + '"'

    @rule(key=keys, secret=values, both=values)
    def put(self, key: int, secret: Any, both: Any) -> None:
        if key in self.rows:
            text = f"UPDATE t SET {self.column} = :secret, both = :both WHERE id = :key"
        else:
            text = f"INSERT INTO t(id, {self.column}, both) VALUES (:key, :secret, :both)"
        self.run(self.db.execute(text, {"key": key, "secret": secret, "both": both}))
        self.rows[key] = (secret, both)

    @rule(key=keys)
    def delete(self, key: int) -> None:
        self.run(self.db.execute("DELETE FROM t WHERE id = ?", (key,)))
        self.rows.pop(key, None)

    @rule(key=keys, moved=keys)
    def move(self, key: int, moved: int) -> None:
        if key in self.rows and moved not in self.rows:
            self.run(self.db.execute("UPDATE t SET id = ? WHERE id = ?", (moved, key)))
            self.rows[moved] = self.rows.pop(key)

    @rule()
    def rotate(self) -> None:
        self.run(self.db.rotate_keys())

    @rule()
    def train(self) -> None:
        many = [(100 + n, f"some words that repeat {n}") for n in range(300)]
        self.run(self.db.executemany("INSERT INTO t(id, both) VALUES (?, ?)", many))
        self.run(self.db.train())
        self.run(self.db.execute("DELETE FROM t WHERE id >= 100"))

    @rule(name=names)
    def rename(self, name: str) -> None:
        if name != self.name:
            self.run(self.db.execute(f'ALTER TABLE t RENAME COLUMN {self.column} TO "{name}"'))
            self.name = name

    @rule()
    def reopen(self) -> None:
        self.run(self.db.close())
        self.db = self.run(zqlite.open(self.folder / "store.db", key=KEY, cipher=self.cipher))

    @precondition(lambda self: len(self.moments) < 3)
    @rule()
    def remember(self) -> None:
        self.moments.append((self.db.head.ts, self.column, dict(self.rows)))

    @invariant()
    def the_table_is_the_dict(self) -> None:
        found = self.run(self.db.query(f"SELECT id, {self.column}, both FROM t"))
        assert {row[0]: tuple(row[1:]) for row in found} == self.rows

    def teardown(self) -> None:
        for ts, column, rows in self.moments:
            with self.run(self.db.as_of(ts)) as past:
                assert {row[0]: tuple(row[1:]) for row in past.query(f"SELECT id, {column}, both FROM t")} == rows
        self.run(self.db.verify())
        self.run(self.db.close())
        self.runner.close()
        shutil.rmtree(self.folder)


TestSealedTable = SealedTable.TestCase
TestSealedTable.settings = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
