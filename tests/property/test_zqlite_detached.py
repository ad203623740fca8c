"""What compiled code makes of operations is what the usual way makes of them: rows of the log, tables and refusals."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ghostwire import zqlite
from ghostwire.errors import ConflictError
from ghostwire.zqlite import Operation, Statement
from ghostwire.zqlite.applier import Applier

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
SCHEMA = """
CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b BLOB, n INTEGER CHECK (n IS NOT 13));
CREATE TABLE u(a TEXT, b, c GENERATED ALWAYS AS (a || 'x') STORED);
CREATE TABLE strict(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, s TEXT, d BLOB DEFAULT x'00ff') STRICT;
CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
CREATE TABLE r(id INTEGER PRIMARY KEY, x REAL);
CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE INDEX half ON t(b) WHERE n > 2;
CREATE VIEW seen AS SELECT a FROM t
"""
ELSEWHERE = (
    "CREATE TRIGGER follow AFTER INSERT ON t BEGIN INSERT INTO u(a, b) VALUES (new.a, new.id); END",
    "CREATE TABLE child(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE once(k TEXT UNIQUE ON CONFLICT REPLACE, v)",
)
TEXTS = {
    "INSERT INTO t(id, a, b, n) VALUES (?, ?, ?, ?)": 4,
    "INSERT INTO t(a) VALUES (?);": 1,
    "INSERT OR IGNORE INTO t(id, a) VALUES (?, ?)": 2,
    "INSERT OR REPLACE INTO t(id, a) VALUES (?, ?)": 2,
    "INSERT INTO t(id, n) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET n = excluded.n": 2,
    "INSERT INTO t(id) VALUES (?) RETURNING a": 1,
    "UPDATE t SET n = ? WHERE id = ?": 2,
    "UPDATE t SET a = ?, b = ? WHERE n >= ?": 3,
    "UPDATE t SET id = id + ? WHERE n = ?": 2,
    "UPDATE t SET _rowid_ = ? WHERE a = ?": 2,
    "UPDATE OR ROLLBACK t SET a = ?": 1,
    "DELETE FROM t WHERE id = ?": 1,
    "DELETE FROM t": 0,
    "INSERT INTO u(a, b) SELECT a, ? FROM t": 1,
    "UPDATE u SET b = CAST(? AS TEXT)": 1,
    "UPDATE u SET rowid = rowid + 100": 0,
    "UPDATE u SET a = a || ? WHERE rowid = 1": 1,
    "INSERT INTO strict(n, s) VALUES (?, ?)": 2,
    "INSERT INTO strict VALUES (?, ?, ?, ?)": 4,
    "INSERT INTO auto(v) VALUES (?)": 1,
    "INSERT INTO r VALUES (?, ?)": 2,
    "INSERT INTO w VALUES (?, ?)": 2,
    "DELETE FROM change WHERE seq = ?": 1,
    "INSERT INTO nowhere VALUES (?)": 1,
    "SELECT ?": 1,
}
VALUES = (
    st.integers(0, 5)
    | st.none()
    | st.booleans()
    | st.integers(-(2**63) - 2, 2**63 + 1)
    | st.floats()
    | st.text(max_size=40)
    | st.text(st.characters(), max_size=3)
    | st.binary(max_size=300)
    | st.decimals()
)


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    text = draw(st.sampled_from(sorted(TEXTS)))
    params = draw(st.lists(VALUES, min_size=TEXTS[text], max_size=TEXTS[text]))
    if draw(st.integers(0, 20)) == 0:
        params = [*params, 1]
    return Statement(text, tuple(params), draw(st.sampled_from((None, None, None, 1, 1, 0, 2))))


GROUPS = st.lists(st.lists(st.lists(statements(), max_size=3), min_size=1, max_size=6), min_size=1, max_size=4)


async def told(db: zqlite.Store, groups: list[list[list[Statement]]]) -> list[Any]:
    """What each operation was answered, each group in one piece."""
    answers: list[Any] = []
    for group in groups:
        wanted = [Operation(f"kind {at}", "ä", tuple(each)) for at, each in enumerate(group)]
        for answer in await asyncio.gather(*map(db.submit, wanted), return_exceptions=True):
            if isinstance(answer, zqlite.Committed):
                answers.append((answer.seq, answer.kind, answer.actor, answer.body))
            else:
                at = answer.statement if isinstance(answer, ConflictError) else None
                answers.append((type(answer), str(answer), at))
    return answers


async def held(db: zqlite.Store) -> list[Any]:
    """The rows of all tables, with their row ids and the types of their values."""
    names = [name for (name,) in await db.query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    ours = [name for name in names if not name.startswith(("zq_", "change", "sqlite_"))]
    rows = [(name, await db.query(f"SELECT * FROM {name} ORDER BY 1")) for name in ours if name != "child"]
    return [(name, [[(type(value), repr(value)) for value in row] for row in found]) for name, found in rows]


@settings(deadline=None)
@given(groups=GROUPS, elsewhere=st.sampled_from(("", "", "", *ELSEWHERE)))
def test_the_same_log(groups: list[list[list[Statement]]], elsewhere: str) -> None:
    asyncio.run(compare(groups, elsewhere))


async def compare(groups: list[list[list[Statement]]], elsewhere: str) -> None:
    numbers = count()
    first_seen = [
        [
            [Statement(f"/* {next(numbers)} */ {each.sql}", each.params, each.rows) for each in operation]
            for operation in group
        ]
        for group in groups
    ]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        answers, contents = [], []
        for name, given_groups in (("usual", first_seen), ("detached", groups)):
            async with await zqlite.open(Path(folder) / name, key=bytes(32), durability="lazy") as db:
                for text in (SCHEMA, elsewhere):
                    if text:
                        await db.execute(text)
                await db.submit(Operation("first", "", (Statement("INSERT INTO t(id, n) VALUES (3, 3)"),)))
                if name == "detached":
                    await db.work(know)
                answers.append(await told(db, given_groups))
                contents.append(await held(db))
                assert (await db.verify()).head.seq >= 1
        assert answers[0] == answers[1]
        assert contents[0] == contents[1]


def know(applier: Applier) -> None:
    """As if each text had been seen."""
    detached = applier._detached
    assert detached is not None
    detached.learn(Operation("", "", tuple(map(Statement, TEXTS))))
