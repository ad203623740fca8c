"""Operations: guards, and that one bad operation never fails another."""

from __future__ import annotations

import asyncio

from ghostwire import zqlite
from ghostwire.errors import ConflictError, PermissionDeniedError, ValidationError
from ghostwire.zqlite import Operation, Statement


def insert(value: object, rows: int | None = 1) -> Operation:
    return Operation("put", "alice", (Statement("INSERT INTO t(v) VALUES (?)", (value,), rows),))


async def test_committed_is_the_row_of_the_log(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
    committed = await db.submit(insert("a"))
    row = await db.query_one("SELECT * FROM change WHERE seq = ?", (committed.seq,))
    assert row == (2, 1, committed.ts, "alice", "put", committed.body, committed.prev, committed.hash)
    (image,) = db.rows(committed.body)
    assert (image.table, image.op, image.key, image.values) == ("t", "insert", 1, {"id": 1, "v": "a"})


async def test_a_guard_that_fails_takes_its_operation_back(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); CREATE TABLE uses(id, n)")
    await db.execute("INSERT INTO uses VALUES (1, 0)")
    once = Statement("UPDATE uses SET n = n + 1 WHERE id = 1 AND n < 1", (), 1)
    both = [
        db.submit(Operation("use", "", (Statement("INSERT INTO t(v) VALUES (?)", (name,), 1), once))) for name in "ab"
    ]
    won, lost = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(won, zqlite.Committed)
    assert isinstance(lost, ConflictError)
    assert lost.statement == 1
    assert await db.query("SELECT v FROM t") == [("a",)]
    assert await db.query("SELECT n FROM uses") == [(1,)]


async def test_bad_ones_in_a_group_fail_alone(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
    await db.execute(
        "CREATE TRIGGER harsh AFTER INSERT ON t WHEN new.v = 'boom' BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
    )
    before = db.stats["writer_commits"]
    wanted = [
        insert("a"),
        insert("a"),
        insert("b", rows=2),
        Operation("x", "", (Statement("nonsense"),)),
        Operation("x", "", (Statement("DELETE FROM change"),)),
        insert("boom"),  # SQLite rolls the whole transaction back, and everyone else's with it
        Operation("x", "", (Statement("INSERT INTO t(v) VALUES (?)", (object(),)),)),  # type: ignore[arg-type]
        insert("c"),
        Operation("x", "", (Statement("SELECT 1; SELECT 2"),)),
        Operation("empty", "bob", ()),
    ]
    answers = await asyncio.gather(*map(db.submit, wanted), return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds == [
        zqlite.Committed,
        ConflictError,
        ConflictError,
        ValidationError,
        PermissionDeniedError,
        ValidationError,
        ValidationError,
        zqlite.Committed,
        ValidationError,
        zqlite.Committed,
    ]
    assert [answer.statement for answer in answers if isinstance(answer, ConflictError)] == [0, 0]
    assert await db.query("SELECT v FROM t") == [("a",), ("c",)]
    assert await db.query("SELECT seq, kind FROM change WHERE seq > 2") == [(3, "put"), (4, "put"), (5, "empty")]
    assert db.stats["writer_commits"] - before <= 10


async def test_a_deferred_reference_fails_its_own_operation(db: zqlite.Store) -> None:
    await db.execute(
        "CREATE TABLE parent(id INTEGER PRIMARY KEY);"
        "CREATE TABLE child(p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)"
    )
    child = Statement("INSERT INTO child VALUES (?)", (7,))
    parent = Statement("INSERT INTO parent VALUES (?)", (7,))
    bad, good = await asyncio.gather(
        db.submit(Operation("bad", "", (child,))),
        db.submit(Operation("good", "", (child, parent))),
        return_exceptions=True,
    )
    assert isinstance(bad, ConflictError)
    assert isinstance(good, zqlite.Committed)
    assert await db.query("SELECT count(*) FROM child") == [(1,)]


async def test_a_group_is_one_commit_in_order(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
    before = db.stats["writer_commits"]
    committed = await asyncio.gather(*(db.submit(insert(n)) for n in range(100)))
    assert db.stats["writer_commits"] - before < 20
    assert [record.seq for record in committed] == list(range(2, 102))
    assert await db.query("SELECT v FROM t ORDER BY id") == [(n,) for n in range(100)]


async def test_a_cancelled_caller_disturbs_nobody(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
    futures = [db.submit(insert(n)) for n in range(3)]
    futures[1].cancel()
    await asyncio.gather(futures[0], futures[2])
    assert (await db.query_one("SELECT count(*) FROM t"))[0] == 3
