"""The older log in column blocks: read as before, smaller, and no less guarded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.errors import DatabaseError, NotFoundError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import archive, engine
from tests.unit.zqlite.conftest import KEY

ROWS = 3000


async def filled(db: zqlite.Store) -> list[ChangeRecord]:
    """A log of some length, with a schema change within; all of its rows."""
    await db.execute("CREATE TABLE node(id INTEGER PRIMARY KEY, name TEXT NOT NULL, key BLOB)")
    for start in range(1, ROWS, 100):
        await asyncio.gather(*(db.submit(registration(number)) for number in range(start, start + 100)))
        if start == ROWS // 2 + 1:
            await db.execute("ALTER TABLE node ADD COLUMN tags TEXT DEFAULT ''")
    return await log(db)


def registration(number: int) -> zqlite.Operation:
    insert = "INSERT INTO node(id, name, key) VALUES (?, ?, ?)"
    statement = zqlite.Statement(insert, (number, f"node-{number}", bytes(32)))
    return zqlite.Operation("node.register", f"user-{number % 9}", (statement,))


async def log(db: zqlite.Store, after: int = 0) -> list[ChangeRecord]:
    return [ChangeRecord(*row) for row in await db.query(archive.ROWS, {"after": after})]


async def archived(db: zqlite.Store) -> int:
    row = await db.query_one("SELECT coalesce(sum(last - first + 1), 0) FROM zq_archive")
    assert row is not None
    return int(row[0])


def tamper(path: Path, sql: str) -> None:
    """Change the file behind the store's back, with its key."""
    connection = apsw.Connection(str(path))
    connection.pragma("cipher", "aegis")
    connection.pragma("key", f"raw:{engine.locate(path, KEY, None).page_key.hex()}")
    connection.execute(sql).fetchall()
    connection.close()


async def test_everything_reads_it_as_before(db: zqlite.Store, path: Path) -> None:
    before = await filled(db)
    with pytest.raises(NotFoundError, match="take one first"):
        await db.archive(ROWS)
    await db.snapshot()
    gone = await db.archive(ROWS // 2)
    assert gone == await archived(db)
    assert ROWS // 2 - 512 < gone <= ROWS // 2, "up to a signed row"
    assert await db.archive(1 << 40) == len(before) - gone, "the rest up to the snapshot"
    assert await db.archive(1 << 40) == 0
    assert (await log(db))[: len(before)] == before
    assert (await log(db, 777))[:9] == before[777:786]
    follower = db.changes(5)
    assert [await anext(follower) for _ in range(600)] == before[4:604]
    verified = await db.verify()
    assert (verified.since, verified.head.seq) == (0, len(before) + 1)
    with await db.as_of(before[ROWS // 3].ts) as past:
        assert past.value("SELECT count(*) FROM node") == ROWS // 3
    with await db.as_of(before[-1].ts) as past:
        assert past.value("SELECT max(tags) FROM node") == ""
    found = await db.query("SELECT kind, actor FROM change_archived(0) WHERE seq = 5")
    assert [tuple(row) for row in found] == [("node.register", "user-4")]
    await db.close()
    async with await zqlite.open(path, key=KEY) as again:
        assert (await log(again))[: len(before)] == before
        await again.verify()


async def test_it_takes_a_fraction_of_the_room(db: zqlite.Store) -> None:
    await filled(db)

    async def room() -> int:
        rows = await db.query("SELECT sum(pgsize) FROM dbstat WHERE name IN ('change', 'zq_group', 'zq_archive')")
        return int(rows[0][0])

    before = await room()
    await db.snapshot()
    await db.archive(1 << 40)
    assert await room() < before / 8


async def test_the_log_is_dropped_up_to_a_snapshot_within_it(db: zqlite.Store) -> None:
    before = await filled(db)
    first = await db.snapshot()
    for number in range(ROWS + 1, ROWS + 301):
        await db.execute("INSERT INTO node(id, name) VALUES (?, '')", (number,))
    await db.snapshot()
    await db.archive(1 << 40)
    assert await db.retain(first.seq) == len(before)
    assert (await log(db))[0].seq == first.seq + 1
    with pytest.raises(NotFoundError, match=f"kept from {first.seq + 1} on"):
        await anext(db.changes(first.seq))
    assert (await db.verify()).since == first.seq
    assert await archived(db) == 301


async def test_transactions_and_great_rows_stay_whole(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(v)")
    async with db.transaction() as tx:
        for number in range(200):
            await tx.event("e", "told", {"number": number, "more": "x" * 900})
    await db.execute("INSERT INTO t VALUES (zeroblob(3000000))")
    await db.execute("INSERT INTO t VALUES (1)")
    before = await log(db)
    await db.snapshot()
    assert await db.archive(1 << 40) == len(before) - 1
    ends = [tuple(row) for row in await db.query("SELECT first, last FROM zq_archive ORDER BY last")]
    assert ends == [(1, 201), (203, 203)]
    assert (await log(db))[: len(before)] == before
    await db.verify()


async def test_backups_hold_it(db: zqlite.Store, tmp_path: Path) -> None:
    before = await filled(db)
    await db.snapshot()
    await db.archive(ROWS // 2)
    me, _ = zqlite.Identity.generate()
    full = await db.backup(tmp_path / "backup", [me.public])
    assert full is not None
    found = zqlite.backup.find([tmp_path / "backup"], db.signing_key("backups").public)
    zqlite.backup.verify(found, me)
    target = tmp_path / "restored.db"
    zqlite.backup.restore(found, me, target, lambda path: engine.locate(path, KEY, None))
    async with await zqlite.open(target, key=KEY) as restored:
        assert (await log(restored))[: len(before)] == before
    await db.archive(1 << 40)
    await db.execute("DELETE FROM node")
    assert await db.backup(tmp_path / "backup", [me.public], previous=full) is not None


@pytest.mark.parametrize(
    ("sql", "match"),
    [
        ("UPDATE zq_archive SET data = CAST(data || x'00' AS BLOB)", "does not open"),
        ("UPDATE zq_archive SET last = last + 1, first = first + 1", "does not open|signed and is not"),
        ("UPDATE zq_archive SET first = first + 1", "other rows"),
        ("UPDATE zq_archive SET prev = zeroblob(32)", "broken at"),
        ("UPDATE zq_archive SET hash = zeroblob(32)", "broken at"),
        ("UPDATE zq_archive SET epoch = 9", "does not hold"),
        ("DELETE FROM zq_archive WHERE last = (SELECT max(last) FROM zq_archive)", "gap"),
        ("DELETE FROM zq_archive WHERE first = 1", "beginning was cut off"),
        ("DELETE FROM zq_group WHERE seq > 100", "without a signature"),
    ],
)
async def test_tampering_shows(path: Path, sql: str, match: str) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await filled(db)
        await db.snapshot()
        await db.archive(ROWS - 99)
        head = db.head
    tamper(path, sql)
    async with await zqlite.open(path, key=KEY) as db:
        with pytest.raises(DatabaseError, match=match):
            await db.verify(head)


async def test_a_store_of_before_there_were_blocks_gets_them(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        before = await filled(db)
        await db.snapshot()
    tamper(path, "DROP TABLE zq_archive")
    async with await zqlite.open(path, key=KEY) as db:
        assert await db.archive(1 << 40) == len(before)
        assert (await log(db))[: len(before)] == before


async def test_a_block_of_another_store_does_not_open(path: Path, tmp_path: Path) -> None:
    data: list[Any] = []
    for each in (tmp_path / "other.db", path):
        async with await zqlite.open(each, key=KEY) as db:
            await filled(db)
            await db.snapshot()
            await db.archive(1 << 40)
            data.append((await db.query("SELECT last, data FROM zq_archive ORDER BY last"))[0])
    assert data[0][0] == data[1][0]
    tamper(path, f"UPDATE zq_archive SET data = x'{data[0][1].hex()}' WHERE last = {data[0][0]}")
    async with await zqlite.open(path, key=KEY) as db:
        with pytest.raises(DatabaseError, match="does not open"):
            await log(db)
