"""The log: one row for each write, a chain from the first, followers, and what rebuilds from it."""

from __future__ import annotations

import asyncio
import struct

import apsw
import msgspec
import pytest
from blake3 import blake3

from ghostwire import zqlite
from ghostwire.errors import DatabaseError, GhostwireError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import changelog, replay


async def records(db: zqlite.Store) -> list[ChangeRecord]:
    return [ChangeRecord(*row) for row in await db.query("SELECT * FROM change ORDER BY seq")]


async def rebuilt(db: zqlite.Store) -> list[str]:
    again = replay.Replay(apsw.Connection(":memory:"))
    again.extend(changelog.verify(await records(db)))
    again.finish()
    now = await db.run(lambda reader: replay.content(reader.connection))
    return replay.differences(now, replay.content(again.connection))


async def test_every_write_is_one_row(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    await db.execute("INSERT INTO t(v) VALUES (1), (2), (3)")
    await db.execute("UPDATE t SET v = v + 1 WHERE id > 99")
    await db.execute("SELECT * FROM t")
    await db.execute("CREATE VIEW w AS SELECT * FROM t; CREATE INDEX i ON t(v); DROP INDEX i")
    await db.execute("DELETE FROM t", kind="purge", actor="root")
    assert [(r.seq, r.kind, r.actor) for r in await records(db)] == [
        (1, "ddl", ""),
        (2, "rows", ""),
        (3, "rows", ""),
        (4, "ddl", ""),
        (5, "purge", "root"),
    ]


async def test_the_chain_is_what_the_module_says(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(v)")
    await db.execute("INSERT INTO t VALUES ('é')", kind="put", actor="ålice")
    prev = bytes(32)
    for r in await records(db):
        actor, kind = r.actor.encode(), r.kind.encode()
        text = prev + struct.pack(">QQq", r.seq, r.epoch, r.ts)
        for part in (actor, kind):
            text += struct.pack(">I", len(part)) + part
        assert (r.prev, r.hash) == (prev, blake3(text + r.body).digest())
        prev = r.hash
    assert msgspec.msgpack.decode((await records(db))[1].body) == [1, 0, 1, [[1, 1, 1, ["é"]]]]


async def test_verify_finds_tampering(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(v)")
    for n in range(5):
        await db.execute("INSERT INTO t VALUES (?)", (n,))
    good = await records(db)
    assert list(changelog.verify(good)) == good
    assert list(changelog.verify(good[3:], good[2].hash, 3)) == good[3:]
    replace = msgspec.structs.replace
    flipped = bytearray(good[2].body)
    flipped[-1] ^= 1
    for bad, match in (
        ([*good[:2], replace(good[2], body=bytes(flipped)), *good[3:]], "broken at 3"),
        ([*good[:2], replace(good[2], ts=good[2].ts + 1), *good[3:]], "broken at 3"),
        ([*good[:2], replace(good[2], actor="x"), *good[3:]], "broken at 3"),
        ([*good[:2], *good[3:]], "gap: after 2 comes 4"),
        ([good[0], good[2], good[1]], "gap"),
        ([*good[:3], good[2], *good[3:]], "gap"),
        ([replace(good[0], prev=b"x" * 32)], "broken at 1"),
    ):
        with pytest.raises(DatabaseError, match=match):
            list(changelog.verify(bad))


async def test_images_by_old_names(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    first = await db.execute("INSERT INTO t(v) VALUES (1)")
    await db.execute("ALTER TABLE t RENAME COLUMN v TO w")
    await db.execute("ALTER TABLE t ADD COLUMN x DEFAULT 5")
    await db.execute("ALTER TABLE t RENAME TO u")
    last = await db.execute("UPDATE u SET id = 9")
    by_seq = {record.seq: record.body for record in await records(db)}
    assert db.rows(by_seq[first.seq]) == [zqlite.RowImage("t", "insert", 1, {"id": 1, "v": 1})]
    assert db.rows(by_seq[last.seq]) == [zqlite.RowImage("u", "update", 1, {"id": 9, "w": 1, "x": 5}, 9)]
    assert {layout.id for layout in db.catalogue.current.values()} == {1}


async def test_names_survive_reopening(db: zqlite.Store, path) -> None:
    await db.execute("CREATE TABLE t(a); DROP TABLE t; CREATE TABLE t(b)")
    await db.execute("INSERT INTO t VALUES (1)")
    body = (await records(db))[-1].body
    await db.close()
    async with await zqlite.open(path, key=bytes(range(32))) as again:
        assert again.rows(body) == [zqlite.RowImage("t", "insert", 1, {"b": 1})]
        assert again.catalogue.find("T").id == 2
        await again.execute("CREATE TABLE u(c)")
        assert again.catalogue.find("u").id == 3
        assert await rebuilt(again) == []


async def test_virtual_tables_rebuild(db: zqlite.Store) -> None:
    await db.execute("CREATE VIRTUAL TABLE docs USING fts5(title, content)")
    await db.execute("INSERT INTO docs VALUES ('Setup Guide', 'how to configure the mesh'), ('Other', 'nothing')")
    await db.execute("CREATE VIRTUAL TABLE area USING rtree(id, x0, x1)")
    await db.execute("INSERT INTO area VALUES (1, 0, 10), (2, 20, 30)")
    await db.execute("UPDATE docs SET content = 'mesh again' WHERE title = 'Other'")
    await db.execute("DELETE FROM area WHERE id = 1")
    await db.execute("ALTER TABLE docs RENAME TO papers")
    assert await rebuilt(db) == []
    again = replay.Replay(apsw.Connection(":memory:"))
    again.extend(await records(db))
    again.finish()
    found = again.connection.execute("SELECT title FROM papers WHERE papers MATCH 'mesh' ORDER BY rank").fetchall()
    assert sorted(found) == [("Other",), ("Setup Guide",)]
    assert again.connection.execute("SELECT id FROM area WHERE x0 > 15").fetchall() == [(2,)]


async def test_tables_made_from_queries_rebuild(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)")
    await db.execute("INSERT INTO t(v) VALUES (1), (2)")
    await db.execute("CREATE TABLE copy AS SELECT * FROM t")
    await db.execute("ALTER TABLE t ADD COLUMN x NOT NULL DEFAULT 'é'; ALTER TABLE t ADD COLUMN y AS (v * 2)")
    await db.execute("INSERT INTO t(v, x) VALUES (3, 'x')")
    await db.execute("UPDATE t SET v = v + 1")
    assert await rebuilt(db) == []


async def test_what_cannot_be_logged_is_refused(db: zqlite.Store) -> None:
    with pytest.raises(GhostwireError, match="WITHOUT ROWID"):
        await db.execute("CREATE TABLE t(a PRIMARY KEY, b AS (a + 1)) WITHOUT ROWID")
    with pytest.raises(GhostwireError, match="hide the row id"):
        await db.execute("CREATE TABLE t(rowid, _rowid_, oid)")
    assert await records(db) == []
    assert db.catalogue.current == {}


async def test_following(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(v)")

    async def follow(start: int, enough: int) -> list[int]:
        found = []
        async for change in db.changes(start):
            assert isinstance(change.hash, bytes)
            found.append(change.seq)
            if change.seq == enough:
                break
        return found

    late = asyncio.create_task(follow(0, 600))
    early = asyncio.create_task(follow(300, 600))
    await asyncio.gather(*(db.execute("INSERT INTO t VALUES (?)", (n,)) for n in range(700)))
    async with asyncio.timeout(30):
        assert await late == list(range(1, 601))
        assert await early == list(range(300, 601))


async def test_followers_end_with_the_store(path) -> None:
    db = await zqlite.open(path, key=bytes(32))
    await db.execute("CREATE TABLE t(v)")
    follower = db.changes(0)
    assert (await anext(follower)).seq == 1
    waiting = asyncio.create_task(anext(follower))
    await asyncio.sleep(0.01)
    await db.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_times_never_go_back(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(v)")
    await asyncio.gather(*(db.execute("INSERT INTO t VALUES (1)") for _ in range(50)))
    times = [record.ts for record in await records(db)]
    assert times == sorted(set(times))
