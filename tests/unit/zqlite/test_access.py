"""Ways to read and write: typed rows, streams, BLOBs in pieces, deadlines; and what the store tells of itself."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, UnavailableError, ValidationError
from ghostwire.zqlite import pool, streaming
from ghostwire.zqlite.watch import Seen

KEY = bytes(range(32))
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
ENDLESS_WRITE = f"INSERT INTO t SELECT 1, ({ENDLESS})"


class Note(msgspec.Struct):
    id: int
    text: str


@pytest.fixture
async def t(db: zqlite.Store) -> zqlite.Store:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, text)")
    return db


async def test_rows_as_structs(t: zqlite.Store) -> None:
    await t.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    assert await t.query_as(Note, "SELECT * FROM t ORDER BY id") == [Note(1, "a"), Note(2, "b")]
    with t.read() as reader:
        assert reader.query_as(Note, "SELECT id, text FROM t WHERE id = ?", (2,)) == [Note(2, "b")]
    with pytest.raises(ValidationError, match="does not fit Note"):
        await t.query_as(Note, "SELECT id, NULL AS text FROM t")


async def test_a_stream_of_rows_waits_for_who_takes_them(t: zqlite.Store) -> None:
    count = 5 * streaming.PAGE + 1
    await t.executemany("INSERT INTO t VALUES (?, 'x')", [(n,) for n in range(count)])
    stream = t.stream("SELECT id FROM t ORDER BY id")
    assert await anext(stream) == (0,)
    await t.execute("DELETE FROM t")  # the stream has its own moment of the store
    assert [row[0] async for row in stream] == list(range(1, count))
    assert [row async for row in t.stream("SELECT * FROM t")] == []
    with pytest.raises(ValidationError, match="no such table"):
        await anext(t.stream("SELECT * FROM missing"))
    assert t.stats["pool_busy"] == 0


async def test_a_stream_that_is_left_gives_its_connection_back(t: zqlite.Store) -> None:
    stream = t.stream("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")
    async for row in stream:
        if row["i"] == 3000:
            break
    assert t.stats["pool_busy"] == 1
    assert t.stats["pool_oldest_ns"] > 0
    await stream.aclose()
    while t.stats["pool_busy"]:  # noqa: ASYNC110 (its thread tells nobody)
        await asyncio.sleep(0.001)
    assert t.stats["pool_oldest_ns"] == 0


async def test_blobs_in_pieces(t: zqlite.Store) -> None:
    await t.execute("INSERT INTO t VALUES (7, zeroblob(1000000))")
    before = t.head.ts
    async with t.transaction() as tx:
        await tx.write_blob("t", "text", 7, 500_000, b"in the middle")
        await tx.write_blob("t", "text", 7, 999_999, b"!")
        with pytest.raises(ValidationError):
            await tx.write_blob("t", "text", 7, 999_999, b"too long")
        with pytest.raises(ValidationError):
            await tx.write_blob("t", "text", 8, 0, b"no such row")
        with pytest.raises(ValidationError, match="no table"):
            await tx.write_blob("change", "body", 1, 0, b"forged")
    (record,) = tx.committed
    assert len(record.body) < 100  # what was written, not the million bytes around it
    patches = t.rows(record.body)
    assert [(patch.op, patch.key, patch.offset) for patch in patches] == [("patch", 7, 500_000), ("patch", 7, 999_999)]
    assert patches[0].values == {"text": b"in the middle"}
    with t.read() as reader:
        with reader.blob("t", "text", 7) as blob:
            assert blob.length() == 1_000_000
            blob.seek(499_999)
            assert blob.read(15) == b"\0in the middle\0"
        left_open = reader.blob("t", "text", 7)
        assert left_open.read(1) == b"\0"
        with pytest.raises(ValidationError):
            reader.blob("t", "text", 8)
    with await t.as_of(before) as past:
        assert past.value("SELECT text = zeroblob(1000000) FROM t") == 1
    with await t.as_of(t.head.ts) as past:
        assert past.value("SELECT hex(substr(text, -1)) FROM t") == "21"
    await t.verify()


async def test_a_write_that_takes_too_long_leaves_nothing_and_harms_nobody(t: zqlite.Store) -> None:
    others = [asyncio.create_task(t.execute("INSERT INTO t VALUES (?, 'other')", (n,))) for n in range(10, 15)]
    with pytest.raises(UnavailableError, match="deadline"):
        await t.execute(ENDLESS_WRITE, within=0.05)
    await asyncio.gather(*others)
    waiting = asyncio.create_task(t.execute(ENDLESS_WRITE))
    await asyncio.sleep(0.02)
    with pytest.raises(UnavailableError, match="before it began"):
        await t.execute("INSERT INTO t VALUES (20, 'late')", within=0.02)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await t.execute("INSERT INTO t VALUES (30, 'after')", within=5)
    assert [row[0] for row in await t.query("SELECT id FROM t ORDER BY id")] == [10, 11, 12, 13, 14, 30]
    async with t.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES (40, 'tx')")
        with pytest.raises(UnavailableError, match="deadline"):
            await tx.execute(ENDLESS, within=0.02)

    async def stopped() -> None:
        async with t.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (50, 'tx')")
            await tx.execute(ENDLESS_WRITE, within=0.02)

    with pytest.raises(UnavailableError):
        await stopped()
    assert await t.query("SELECT id FROM t WHERE id >= 40") == [(40,)]
    await t.verify()


async def test_what_is_done_is_told(path: Path) -> None:
    seen: list[Seen] = []
    async with await zqlite.open(path, key=KEY, watch=seen.append) as db:
        await db.execute("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)", kind="make")
        seen.clear()
        await db.query("SELECT a FROM t WHERE a > ?", ("secret",))
        with db.read() as reader:
            reader.query_one("SELECT 1 FROM t")
        await db.execute("INSERT INTO t VALUES (3)")
        me, _ = zqlite.Identity.generate()
        await db.backup(path.parent / "backups", [me.public])
    told = [(each.what, each.text, each.count) for each in seen]
    assert ("query", "SELECT a FROM t WHERE a > ?", 0) in told
    assert ("query", "SELECT 1 FROM t", 1) in told
    assert ("commit", "", 1) in told
    assert [what for what, *_ in told].count("backup") == 1
    assert all(each.took > 0 and each.started > 1.7e18 for each in seen)
    assert "secret" not in repr(seen)


async def test_a_listener_that_fails_changes_nothing(path: Path) -> None:
    def fail(_: Seen) -> None:
        raise RuntimeError("the listener is broken")

    async with await zqlite.open(path, key=KEY, watch=fail) as db:
        await db.execute("CREATE TABLE t(a); INSERT INTO t VALUES (1)")
        assert await db.query("SELECT * FROM t") == [(1,)]
        assert db.stats["watch_failures"] >= 2


async def test_slow_queries_are_kept(path: Path) -> None:
    async with await zqlite.open(path, key=KEY, slow=0.02) as db:
        await db.execute("CREATE TABLE t(a, b)")
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) SELECT i FROM n"
        count = f"SELECT count(*) FROM ({numbers})"
        await db.query(count, (500_000,))
        await db.query("SELECT 1")
        await db.execute(f"INSERT INTO t SELECT 1, ({count})", (500_001,))
        slow = [each for each in db.slow_queries if "RECURSIVE" in each.text]
        assert [each.text.startswith("INSERT") for each in slow] == [False, True]
        assert all(each.took > 0.02e9 for each in slow)
        assert "500" not in slow[0].text
        assert "SELECT 1" not in {each.text for each in db.slow_queries}


async def test_plans_say_which_index_serves(t: zqlite.Store) -> None:
    assert await t.plan("SELECT * FROM t WHERE text = ?", ("a",)) == "SCAN t"
    await t.execute("CREATE INDEX by_text ON t(text)")
    assert await t.plan("SELECT id FROM t WHERE text = 'a'") == "SEARCH t USING COVERING INDEX by_text (text=?)"
    told = await t.plan("SELECT id FROM t WHERE id = 1 UNION ALL SELECT 2")
    assert [line.strip() != line for line in told.splitlines()] == [False, True, True, True, True]


async def test_stats_tell_of_the_cache(t: zqlite.Store) -> None:
    await t.executemany("INSERT INTO t VALUES (?, zeroblob(2000))", [(n,) for n in range(100)])
    for _ in range(3):
        await t.query("SELECT sum(length(text)) FROM t")
    stats = t.stats
    assert stats["cache_hits"] > 0
    assert stats["cache_misses"] > 0
    assert stats["cache_bytes"] > 100_000


async def test_a_connection_that_lay_idle_is_tried_and_a_broken_one_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await zqlite.open(path, key=KEY, readers=(1, 2)) as db:
        monkeypatch.setattr(pool, "IDLE_NS", 0)
        with db.read() as reader:
            connection = reader.connection
        with db.read() as reader:
            assert reader.connection is connection
        reader.close()
        with db.read() as reader:
            assert reader.value("SELECT 1") == 1
            assert reader.connection is not connection
        assert db.stats["pool_broken"] == 1


async def test_decimals_times_and_dates_are_bound_as_sql_writes_them(db: zqlite.Store) -> None:
    east = timezone(timedelta(hours=2))
    await db.execute("CREATE TABLE t(amount DECIMAL(18,8), at TIMESTAMP, day DATE)")
    given = (Decimal("1E-8"), datetime(2024, 1, 1, 1, 30, tzinfo=east), date(2024, 2, 29))
    await db.execute("INSERT INTO t VALUES (?, ?, ?)", given)
    assert await db.query("SELECT * FROM t") == [("0.00000001", "2023-12-31 23:30:00", "2024-02-29")]
    assert await db.query("SELECT 1 FROM t WHERE at < CURRENT_TIMESTAMP AND amount = :a", {"a": given[0]}) == [(1,)]
    for wrong, match in ((datetime(2024, 1, 1), "time zone"), (Decimal("NaN"), "a Decimal"), (object(), "an? object")):
        with pytest.raises(ValidationError, match=match):
            await db.execute("INSERT INTO t(at) VALUES (?)", (wrong,))


async def test_constraints_that_are_added(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(v INT, w INT); INSERT INTO t VALUES (1, 1), (2, 1)")
    await db.execute('ALTER TABLE t ADD CONSTRAINT "one v" UNIQUE (v)')
    await db.execute("ALTER TABLE t ADD CONSTRAINT small CHECK (w < 9)")
    for sql in ("INSERT INTO t VALUES (2, 2)", "ALTER TABLE t ADD CONSTRAINT w UNIQUE (w)"):
        with pytest.raises(ConflictError):
            await db.execute(sql)
    with pytest.raises(ValidationError, match="small"):
        await db.execute("INSERT INTO t VALUES (3, 9)")
    with pytest.raises(ValidationError, match="FOREIGN KEY cannot be added"):
        await db.execute("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (w) REFERENCES t(v)")
    await db.verify()
