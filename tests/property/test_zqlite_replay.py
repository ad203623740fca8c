"""Replaying the change log rebuilds every table exactly, whatever was done to it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import apsw
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ghostwire import zqlite
from ghostwire.errors import ConflictError, ValidationError
from ghostwire.zqlite import replay
from ghostwire.zqlite.changelog import verify

KEY = bytes(range(32))
EXAMPLES = int(os.environ.get("GHOSTWIRE_REPLAY_EXAMPLES", "80"))

SCHEMA = """
CREATE TABLE plain(id INTEGER PRIMARY KEY, a UNIQUE, b, c REAL);
CREATE TABLE bare(a, b);
CREATE TABLE keyed(a, b, c TEXT, d, PRIMARY KEY (c, a)) WITHOUT ROWID;
CREATE TABLE word(a TEXT PRIMARY KEY, b INT);
CREATE TABLE counter(id INTEGER PRIMARY KEY AUTOINCREMENT, a NUMERIC, UNIQUE (a));
CREATE TABLE computed(a, b UNIQUE, v AS (typeof(a)), s AS (b) STORED);
CREATE TABLE stored(a PRIMARY KEY, b, s AS (quote(a)) STORED) WITHOUT ROWID;
CREATE TABLE child(id INTEGER PRIMARY KEY, plain REFERENCES plain(id) ON DELETE CASCADE ON UPDATE CASCADE, rowid);
CREATE TABLE heard(what, a);
CREATE TRIGGER hear AFTER UPDATE ON plain BEGIN INSERT INTO heard VALUES (old.a, new.a); END;
INSERT INTO plain(a, b, c) VALUES (1, 'x', 1), (2, x'00', 2.5), ('a', NULL, NULL);
INSERT INTO bare VALUES (1, 2), (NULL, 3), ('a', 1.5);
INSERT INTO keyed VALUES (1, 2, 'a', NULL), (2, 1, 'a', 4), (1, 1, 'b', 2);
INSERT INTO word VALUES (NULL, 1), (NULL, 2), ('a', 3);
INSERT INTO counter(a) VALUES (1), (2), (3);
INSERT INTO computed(a, b) VALUES (1, 1), (2, 2), (3, 3);
INSERT INTO stored(a, b) VALUES (1, 1), (2, 2);
INSERT INTO child(plain, rowid) VALUES (1, 1), (1, 2), (3, 3);
"""
COLUMNS = {
    "plain": ("id", "a", "b", "c"),
    "bare": ("a", "b"),
    "keyed": ("a", "b", "c", "d"),
    "word": ("a", "b"),
    "counter": ("id", "a"),
    "computed": ("a", "b"),
    "stored": ("a", "b"),
    "child": ("id", "plain", "rowid"),
    "heard": ("what", "a"),
}

values = st.one_of(
    st.none(),
    st.integers(-3, 6),
    st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 2**31]),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 1e300, float("inf"), float("-inf"), 5e-324, 9007199254740993.0]),
    st.sampled_from(["", "a", "b", "A", "1", "1.0", "nul\0nul", "\U0001f512"]),
    st.sampled_from([b"", b"\0", b"a", bytes(range(256))]),
)
tables = st.sampled_from(sorted(COLUMNS))


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, tuple[Any, ...]]:
    table = draw(tables)
    columns = COLUMNS[table]
    act = draw(st.sampled_from(["insert", "insert", "insert", "update", "update", "delete", "many", "rowid", "alter"]))
    if act == "insert":
        how = draw(st.sampled_from(["", " OR REPLACE", " OR IGNORE", " OR FAIL"]))
        row = tuple(draw(values) for _ in columns)
        return f"INSERT{how} INTO {table}({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", row
    column, other = draw(st.sampled_from(columns)), draw(st.sampled_from(columns))
    if act == "update":
        how = draw(st.sampled_from(["", " OR REPLACE", " OR IGNORE"]))
        return f"UPDATE{how} {table} SET {column} = ? WHERE {other} IS NOT ?", (draw(values), draw(values))
    if act == "delete":
        return f"DELETE FROM {table} WHERE {column} IS ?", (draw(values),)
    if act == "many":
        return f"UPDATE {table} SET {column} = {column} + 1 WHERE {column} < ?", (draw(st.integers(-3, 9)),)
    if act == "rowid":
        return f"UPDATE {table} SET _rowid_ = _rowid_ + ?", (draw(st.sampled_from([-1000, 1000, 2**40])),)
    return draw(st.sampled_from(ALTERS)).format(table=table, column=column), ()


ALTERS = [
    "ALTER TABLE {table} ADD COLUMN added DEFAULT 'x'",
    "ALTER TABLE {table} ADD COLUMN blank",
    "ALTER TABLE {table} DROP COLUMN added",
    "ALTER TABLE {table} RENAME COLUMN added TO {column}2",
    "ALTER TABLE {table} RENAME TO {table}2",
    "ALTER TABLE {table}2 RENAME TO {table}",
    "CREATE INDEX IF NOT EXISTS by_{table}_{column} ON {table}({column})",
    "DROP INDEX IF EXISTS by_{table}_{column}",
    "CREATE TABLE IF NOT EXISTS copy AS SELECT * FROM {table}",
    "DROP TABLE IF EXISTS copy",
    "DELETE FROM {table}",
]

histories = st.lists(st.lists(statements(), min_size=1, max_size=4), max_size=25)


async def run(history: list[list[tuple[str, tuple[Any, ...]]]], path: Path) -> None:
    async with await zqlite.open(path, key=KEY, durability="lazy") as db:
        await db.execute(SCHEMA)
        for group in history:
            try:
                async with db.transaction() as tx:
                    for sql, params in group:
                        try:
                            await tx.execute(sql, params)
                        except ValidationError:
                            continue
            except (ConflictError, ValidationError):
                continue
        records = await db.run(lambda reader: zqlite.subscription.page(reader, 0))
        now = await db.run(lambda reader: replay.content(reader.connection))
        assert len(list(verify(records))) == len(records)
        rebuilt = replay.Replay(apsw.Connection(":memory:"))
        rebuilt.extend(records)
        rebuilt.finish()
        then = replay.content(rebuilt.connection)
        assert replay.differences(now, then) == [], [(now.get(n), then.get(n)) for n in replay.differences(now, then)]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories)
@example([[("INSERT INTO plain(a, c) VALUES ('x', 1)", ())], [("ALTER TABLE plain ADD COLUMN added DEFAULT 'x'", ())]])
@example([[("INSERT INTO computed(a, b) VALUES (1, 1), (2, 2)", ()), ("UPDATE computed SET b = 3 - b + 10", ())]])
def test_the_log_rebuilds_the_tables(history: list[list[tuple[str, tuple[Any, ...]]]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(history, Path(directory, "store.db")))
