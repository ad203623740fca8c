"""Operations without the interpreter: which are, that the others go the usual way, and what a failing disk does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, DatabaseError, GhostwireError, PermissionDeniedError, ResourceExhaustedError
from ghostwire.testing.crash import Fault, FaultVFS
from ghostwire.zqlite import Operation, Statement, changelog
from ghostwire.zqlite.detached import Detached

from .conftest import KEY

INSERT = "INSERT INTO t(v) VALUES (?)"


def insert(value: object, rows: int | None = 1, text: str = INSERT) -> Operation:
    return Operation("put", "alice", (Statement(text, (value,), rows),))  # type: ignore[arg-type]


async def detached(db: zqlite.Store, *operations: Operation) -> int:
    """How many of them were applied without the interpreter, once each was seen."""
    for operation in operations:
        await db.submit(operation)
    before = db.stats["writer_detached"]
    await asyncio.gather(*map(db.submit, operations))
    return db.stats["writer_detached"] - before


async def test_the_second_time_it_needs_no_interpreter(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    assert await detached(db, insert("a"), insert(2), Operation("nothing", "", ())) == 3
    record = await db.submit(insert(b"\0"))
    (image,) = db.rows(record.body)
    assert (record.kind, record.actor) == ("put", "alice")
    assert (image.op, image.key, image.values) == ("insert", 5, {"id": 5, "v": b"\0"})
    assert await db.query("SELECT * FROM change WHERE seq = ?", (record.seq,)) == [
        (record.seq, 1, record.ts, "alice", "put", record.body, record.prev, record.hash)
    ]
    await db.verify()


async def test_bodies_are_written_as_ever(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    await db.submit(insert("first"))
    edges = [
        sign * (1 << bits) + off for bits in (5, 7, 8, 15, 16, 31, 32, 62) for off in (-1, 0, 1) for sign in (1, -1)
    ]
    sizes = (0, 31, 32, 255, 256, 65_535, 65_536)
    values = [*edges, 2**63 - 1, -(2**63), 0.5, None, *("é" * (size // 2) + "x" * (size % 2) for size in sizes)]
    values += map(bytes, sizes)
    before = db.stats["writer_detached"]
    for value, record in zip(
        values, await asyncio.gather(*(db.submit(insert(value)) for value in values)), strict=True
    ):
        since, entries = changelog.decode(record.body)
        assert entries[0][3][1] == value
        assert record.body == changelog.row_body(since, entries)
    assert db.stats["writer_detached"] - before == len(values)
    await db.verify()


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ("CREATE TABLE t(v REAL)", INSERT),
        ("CREATE TABLE t(v PRIMARY KEY, n) WITHOUT ROWID", "INSERT INTO t(v, n) VALUES (random(), ?)"),
        ("CREATE TABLE t(v, double AS (v * 2))", INSERT),
        ("CREATE TABLE t(v UNIQUE ON CONFLICT REPLACE, n)", "INSERT INTO t(n) VALUES (?)"),
        ("CREATE TABLE t(v); CREATE TRIGGER more AFTER INSERT ON t BEGIN DELETE FROM t WHERE v IS 1; END", INSERT),
        (
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER REFERENCES t(id) ON DELETE CASCADE)",
            "DELETE FROM t WHERE v = ?",
        ),
        ("CREATE TABLE t(v ENCRYPTED TEXT)", INSERT),
        ("CREATE TABLE t(v); CREATE VIRTUAL TABLE f USING fts5(v)", "INSERT INTO f(v) VALUES (?)"),
        ("CREATE TABLE t(v)", "INSERT OR REPLACE INTO t(v) VALUES (?)"),
        ("CREATE TABLE t(v)", "INSERT INTO t(v) VALUES (?) RETURNING v"),
        ("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", "UPDATE t SET id = id + ?"),
        ("CREATE TABLE t(v)", "UPDATE t SET rowid = rowid + ?"),
        ("CREATE TABLE t(v)", "SELECT ?"),
    ],
)
async def test_what_cannot_be_read_back_goes_the_usual_way(db: zqlite.Store, schema: str, text: str) -> None:
    await db.execute(schema)
    assert await detached(db, insert("a", None, text), insert("b", None, text)) == 0
    await db.verify()


async def test_another_schema_is_learnt_anew(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    assert await detached(db, insert(1)) == 1
    await db.execute("ALTER TABLE t ADD COLUMN n INTEGER DEFAULT 7")
    record = await db.submit(insert(2))
    assert db.rows(record.body)[0].values == {"id": 3, "v": 2, "n": 7}
    assert await detached(db, insert(3)) == 1
    with pytest.raises(ConflictError):
        await db.execute("CREATE TABLE other(a UNIQUE); INSERT INTO other VALUES (1), (1)")
    assert await detached(db, insert(4)) == 1
    await db.execute("CREATE TRIGGER more AFTER INSERT ON t BEGIN DELETE FROM t WHERE v IS 1; END")
    assert await detached(db, insert(5)) == 0
    assert await db.query("SELECT v, n FROM t WHERE v IS 1") == []
    await db.verify()


async def test_one_that_is_refused_harms_no_other(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
    await db.submit(insert("first"))
    before = db.stats
    wanted = [
        insert("a"),
        insert("a"),
        insert("b", rows=2),
        insert("c"),
        insert(1, text="DELETE FROM change WHERE seq = ?"),
        insert("e"),
    ]
    answers = await asyncio.gather(*map(db.submit, wanted), return_exceptions=True)
    kept, taken = zqlite.Committed, ConflictError
    assert [type(answer) for answer in answers] == [kept, taken, taken, kept, PermissionDeniedError, kept]
    assert db.stats["writer_detached"] - before["writer_detached"] == 3
    assert await db.query("SELECT v FROM t ORDER BY id") == [("first",), ("a",), ("c",), ("e",)]
    await db.verify()


async def test_many_rows_at_once_go_the_usual_way(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    await db.executemany(INSERT, [(n,) for n in range(200)])
    some = insert(50, None, "UPDATE t SET v = v + 1 WHERE id <= ?")
    assert await detached(db, some) == 1
    every = insert(150, None, "UPDATE t SET v = v + 1 WHERE id <= ?")
    before = db.stats["writer_detached"]
    record = await db.submit(every)
    assert len(db.rows(record.body)) == 150
    await db.submit(some)
    assert db.stats["writer_detached"] == before
    await db.verify()


@pytest.mark.parametrize(("kind", "told"), [("error", DatabaseError), ("full", ResourceExhaustedError)])
async def test_a_failing_disk_is_told_as_ever(
    path: Path, kind: Literal["error", "full"], told: type[GhostwireError], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[type[Exception]] = []
    apply = Detached.apply

    def heard(self: Detached, *args: Any) -> Any:
        try:
            return apply(self, *args)
        except Exception as error:
            failed.append(type(error))
            raise

    monkeypatch.setattr(Detached, "apply", heard)
    large = insert(bytes(400_000))
    with FaultVFS() as vfs:
        db = await zqlite.open(
            path, key=KEY, vfs=vfs.name, cache_bytes=32 * 1024
        )  # pages are written before the commit
        await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        await db.submit(insert("a"))
        vfs.fault = Fault(kind, 1, ("write",), lasting=True)
        answers = await asyncio.gather(*map(db.submit, (insert("b"), large)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [told, told]
        assert failed[0] is {"error": apsw.IOError, "full": apsw.FullError}[kind]
        vfs.fault = None
        assert (db.fatal is not None) == (kind == "error")
        if db.fatal is None:
            await db.submit(large)
        await db.close()
    async with await zqlite.open(path, key=KEY) as db:
        await db.verify()
        assert await db.query("SELECT count(*) FROM t") == [(1 + (kind == "full"),)]
