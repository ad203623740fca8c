"""The past, snapshots, retention, and what `verify` finds."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.errors import DatabaseError, GhostwireError, NotFoundError
from ghostwire.zqlite import changelog, engine, history, snapshot
from ghostwire.zqlite.replay import Replay, content, differences

KEY = bytes(range(32))


SWAPPED = "ts, actor, kind, body, prev, hash"
STEPS = (
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)",
    "INSERT INTO t(v) VALUES ('a'), ('b')",
    "UPDATE t SET v = 'c' WHERE v = 'a'; CREATE INDEX i ON t(v DESC)",
    "ALTER TABLE t ADD COLUMN w DEFAULT 7; CREATE VIEW x AS SELECT v FROM t",
    "DELETE FROM t WHERE v = 'b'",
    "CREATE VIRTUAL TABLE docs USING fts5(body); INSERT INTO docs VALUES ('mesh of nodes')",
)


async def fill(db: zqlite.Store) -> list[int]:
    """A little history; the time after each step."""
    times = []
    for sql in STEPS:
        seq = (await db.execute(sql)).seq
        times.append((await db.query_one("SELECT ts FROM change WHERE seq = ?", (seq,)))[0])
    return times


async def test_as_of(db: zqlite.Store) -> None:
    with pytest.raises(NotFoundError, match="nothing was ever written"):
        await db.as_of(time.time_ns())
    times = await fill(db)
    with await db.as_of(times[1]) as past:
        assert past.query("SELECT * FROM t ORDER BY id") == [(1, "a"), (2, "b")]
        assert past.head.seq == 2
    with await db.as_of(times[2] + 1) as past:
        assert past.query("SELECT v FROM t ORDER BY id") == [("c",), ("b",)]
    with await db.as_of(times[5]) as past:
        assert past.query("SELECT v, w FROM t") == [("c", 7)]
        assert past.query("SELECT v FROM x") == [("c",)]
        assert past.query_one("SELECT body FROM docs WHERE docs MATCH 'nodes'") == ("mesh of nodes",)
        with pytest.raises(GhostwireError):
            past.query("DELETE FROM t")
    with pytest.raises(NotFoundError, match="can answer from"):
        await db.as_of(times[0] - 1)


async def test_verify_and_heads(db: zqlite.Store) -> None:
    await fill(db)
    head = db.head
    assert (await db.verify(head)) == zqlite.Verified(0, head)
    await db.execute("INSERT INTO t(v) VALUES ('later')")
    assert (await db.verify(head)).head.seq == head.seq + 1
    with pytest.raises(DatabaseError, match="cut off"):
        await db.verify(changelog.Head(head.seq + 2, 0, bytes(32)))
    with pytest.raises(DatabaseError, match="rewritten"):
        await db.verify(changelog.Head(head.seq, 0, bytes(32)))


async def test_the_state_is_the_same_from_empty_and_from_each_snapshot(db: zqlite.Store) -> None:
    await db.snapshot()
    for sql in STEPS:
        await db.execute(sql)
        await db.snapshot()

    def states(reader: zqlite.Reader) -> list[list[str]]:
        """What differs from the tables, for a replay from nothing and for one from each snapshot."""
        now = content(reader.connection)
        moments = reader.query("SELECT DISTINCT ts FROM zq_snapshot ORDER BY ts")
        starts = [None, *(snapshot.find(reader.connection, ts) for (ts,) in moments)]
        assert len(starts) == len(STEPS) + 2
        found = []
        for start in starts:
            replay = Replay(apsw.Connection(":memory:"))
            history._rebuild(reader, replay, start, None)
            found.append(differences(now, content(replay.connection)))
            replay.connection.close()
        return found

    assert await db.run(states) == [[]] * (len(STEPS) + 2)


async def test_snapshot_and_retention(db: zqlite.Store, path: Path) -> None:
    times = await fill(db)
    with pytest.raises(NotFoundError, match="take one first"):
        await db.retain(99)
    taken = await db.snapshot()
    assert taken.seq == 6
    await db.execute("INSERT INTO t(v) VALUES ('z')")
    with await db.as_of(times[1]) as past:
        assert len(past.query("SELECT * FROM t")) == 2
    assert await db.retain(99) == 6
    with pytest.raises(NotFoundError, match="can answer from"):
        await db.as_of(times[1])
    with await db.as_of(taken.ts) as past:
        assert past.query("SELECT v FROM t") == [("c",)]
    verified = await db.verify()
    assert (verified.since, verified.oldest, verified.head.seq) == (6, taken.ts, 8)
    with pytest.raises(NotFoundError, match="kept from 7 on"):
        await anext(db.changes(2))
    assert (await anext(db.changes(0))).seq == 7
    await db.close()
    async with await zqlite.open(path, key=KEY) as again:
        assert (await again.execute("INSERT INTO t(v) VALUES ('y')")).seq == 9
        assert (await again.verify()).head.seq == 9
        assert (await again.snapshot()).seq == 9
        assert await again.retain(9) == 3


async def test_snapshots_of_one_moment_are_one(db: zqlite.Store) -> None:
    await fill(db)
    taken = await asyncio.gather(*(db.snapshot() for _ in range(4)))
    assert {head.seq for head in taken} <= {6, 7, 8, 9}
    rows = await db.query("SELECT count(DISTINCT seq) FROM zq_snapshot")
    assert rows[0][0] == len({head.seq for head in taken})
    await db.verify()


def tamper(path: Path, act: Callable[[apsw.Connection], object]) -> None:
    """Change the file behind the store's back, with its key."""
    connection = apsw.Connection(os.fspath(path))
    connection.pragma("cipher", "aegis")
    connection.pragma("key", f"raw:{engine.locate(path, KEY, None).page_key.hex()}")
    act(connection)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "match"),
    [
        ("UPDATE t SET v = 'forged'", "tables differ.*rows of t"),
        ("DELETE FROM t", "tables differ"),
        ("INSERT INTO t(v) VALUES ('forged')", "tables differ"),
        ("DROP INDEX i", "index i"),
        ("CREATE TABLE extra(a)", "knows no table extra"),
        ("UPDATE change SET body = CAST(replace(body, x'61', x'62') AS BLOB) WHERE seq = 2", "broken at 2"),
        ("UPDATE change SET ts = ts + 1 WHERE seq = 3", "broken at 3"),
        (
            f"UPDATE change SET ({SWAPPED}) = (SELECT {SWAPPED} FROM change AS c WHERE c.seq = 7 - change.seq)"
            " WHERE seq IN (3, 4)",
            "broken at 3",
        ),
        ("UPDATE change SET hash = x'00' WHERE seq = 3", "broken at 3"),
        ("UPDATE change SET prev = zeroblob(32) WHERE seq = 3", "broken at 3"),
        ("UPDATE change SET epoch = 2 WHERE seq = 3", "broken at 3"),
        ("UPDATE change SET actor = 'mallory' WHERE seq = 3", "broken at 3"),
        ("UPDATE change SET kind = 'other' WHERE seq = 3", "broken at 3"),
        (
            "UPDATE change SET seq = CASE seq WHEN 3 THEN -4 ELSE -3 END WHERE seq IN (3, 4);"
            "UPDATE change SET seq = -seq WHERE seq < 0",
            "broken at 3",
        ),
        (
            "UPDATE change SET seq = -seq - 1 WHERE seq > 3; UPDATE change SET seq = -seq WHERE seq < 0;"
            "INSERT INTO change SELECT 4, epoch, ts + 1, '', kind, body, hash, zeroblob(32) FROM change WHERE seq = 3",
            "broken at 4",
        ),
        ("DELETE FROM change WHERE seq = 3", "gap: after 2 comes 4"),
        ("DELETE FROM change WHERE seq = 1", "beginning was cut off"),
        ("UPDATE change SET seq = seq + 100 WHERE seq >= 4", "gap"),
        ("DELETE FROM change WHERE seq = 6", "cut off|differ"),
        ("DELETE FROM zq_group WHERE seq = 6", "row 6 without a signature after 5"),
        ("UPDATE zq_group SET signature = zeroblob(64) WHERE seq = 3", "commit that ends with row 3 does not hold"),
    ],
)
async def test_tampering_shows(path: Path, sql: str, match: str) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await fill(db)
        head = db.head
    tamper(path, lambda connection: connection.execute(sql).fetchall())
    with pytest.raises(DatabaseError, match=match):
        await look(path, head)


async def test_a_row_that_chains_is_not_enough(path: Path) -> None:
    """Who can write the file and knows how rows chain still cannot add one: the commit's signature is missing."""
    async with await zqlite.open(path, key=KEY) as db:
        await fill(db)
        head = db.head
    body = changelog.event_body("", {"forged": True})
    digest = changelog.digest(7, 1, head.ts + 1, "alice", "forged", body, head.hash)
    row = (7, 1, head.ts + 1, "alice", "forged", body, head.hash, digest)
    tamper(
        path,
        lambda connection: connection.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row).fetchall(),
    )
    with pytest.raises(DatabaseError, match="row 7 without a signature after 6"):
        await look(path, head)


async def look(path: Path, head: changelog.Head) -> None:
    """Open and check; a schema that the log does not know is refused at the door."""
    async with await zqlite.open(path, key=KEY) as db:
        await db.verify(head)
        assert await db.query("PRAGMA integrity_check") == [("ok",)]


async def test_a_forged_snapshot_shows(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await fill(db)
        await db.snapshot()
        await db.retain(99)
    tamper(
        path,
        lambda connection: connection.execute("UPDATE zq_snapshot SET data = CAST(x'00' || data AS BLOB)").fetchall(),
    )
    async with await zqlite.open(path, key=KEY) as db:
        with pytest.raises(DatabaseError, match=r"vouches for|damaged"):
            await db.verify()


async def test_a_flipped_bit_anywhere_shows(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await fill(db)
        head = db.head
    whole = path.read_bytes()  # noqa: ASYNC240
    for at in range(17, len(whole), 1021):
        if at % 4096 in range(16, 24) and at < 4096:
            continue  # the few bytes of the header that SQLite keeps in the clear and does not rely on
        bad = bytearray(whole)
        bad[at] ^= 0x10
        path.write_bytes(bad)  # noqa: ASYNC240
        with pytest.raises(GhostwireError):
            await look(path, head)


async def test_a_flipped_bit_in_the_write_ahead_log_shows(path: Path, tmp_path: Path) -> None:
    """After a crash the log beside the file holds the newest rows: a head kept elsewhere tells that some are gone."""
    async with await zqlite.open(path, key=KEY) as db:
        await fill(db)
        head = db.head
        whole, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()  # noqa: ASYNC240
    for at in range(5, len(log), 2039):
        copy = tmp_path / f"{at}"
        copy.mkdir()
        (copy / "store.db").write_bytes(whole)
        bad = bytearray(log)
        bad[at] ^= 0x10
        (copy / "store.db-wal").write_bytes(bad)
        with pytest.raises(GhostwireError):
            await look(copy / "store.db", head)
    (copy / "store.db").write_bytes(whole)
    (copy / "store.db-wal").write_bytes(log)
    await look(copy / "store.db", head)
