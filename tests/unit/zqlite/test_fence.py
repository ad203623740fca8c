"""A copy of a store that another one is ahead of: it is read, and writes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import AuthenticationError, DatabaseError, ValidationError
from ghostwire.zqlite import Operation, SignedHead, Statement, heads

KEY = bytes(range(32))


async def older_and_ahead(folder: Path) -> tuple[Path, SignedHead]:
    """A copy of a store, and a head that the store gave out after the copy was made."""
    path, copy = folder / "a.db", folder / "older.db"
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("CREATE TABLE t(v)")
    shutil.copy(path, copy)
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("INSERT INTO t VALUES (1)")
        return copy, SignedHead.from_bytes((await db.sign_head()).to_bytes())


async def test_an_older_copy_writes_nothing_and_is_read(tmp_path: Path) -> None:
    copy, ahead = await older_and_ahead(tmp_path)
    for turn in range(2):
        async with await zqlite.open(copy, key=KEY) as db:
            if turn == 0:
                await db.hear(ahead)
            assert db.fenced is not None
            for write in (
                db.execute("INSERT INTO t VALUES (2)"),
                db.submit(Operation("k", "", (Statement("INSERT INTO t VALUES (2)"),))),
                db.snapshot(),
                db.sign_head(),
            ):
                with pytest.raises(DatabaseError, match=r"this copy is older.*ghostwire db promote"):
                    await write
            with pytest.raises(DatabaseError, match="this copy is older"):
                async with db.transaction() as tx:
                    await tx.execute("INSERT INTO t VALUES (2)")
            assert await db.query("SELECT * FROM t") == []
            await db.checkpoint()
            assert (await db.verify()).head.seq == 1


async def test_what_it_may_go_on_after(tmp_path: Path) -> None:
    async with await zqlite.open(tmp_path / "a.db", key=KEY) as db:
        await db.execute("CREATE TABLE t(v)")
        await db.hear(await db.sign_head())
        await db.hear(heads.sign(db.identity, 0, zqlite.Head(9, 0, bytes(32)), db.signing_key(heads.USE)))
        await db.execute("INSERT INTO t VALUES (1)")
        for forged, error in (
            (heads.sign(db.identity, 9, db.head, db.signing_key("backups")), AuthenticationError),
            (heads.sign(bytes(16), 9, db.head, db.signing_key(heads.USE)), ValidationError),
        ):
            with pytest.raises(error):
                await db.hear(forged)
        await db.execute("INSERT INTO t VALUES (2)")


@pytest.mark.parametrize(("epoch", "seq", "why"), [(2, 1, "epoch 2 was opened"), (1, 1, "went apart")])
async def test_copies_that_went_apart(tmp_path: Path, epoch: int, seq: int, why: str) -> None:
    async with await zqlite.open(tmp_path / "a.db", key=KEY) as db:
        await db.execute("CREATE TABLE t(v)")
        told = zqlite.Head(seq, 0, bytes(32))
        await db.hear(heads.sign(db.identity, epoch, told, db.signing_key(heads.USE)))
        with pytest.raises(DatabaseError, match=why):
            await db.execute("INSERT INTO t VALUES (1)")


async def test_a_promotion_ends_the_fence_above_all_that_was_heard(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("CREATE TABLE t(v)")
        await db.hear(heads.sign(db.identity, 5, db.head, db.signing_key(heads.USE)))
    async with await zqlite.open(path, key=KEY) as db:
        assert db.fenced is not None
        assert await db.promote() == db.epoch == 6
        await db.execute("INSERT INTO t VALUES (1)")
        assert (await db.verify(await db.sign_head())).head.seq == 3
        assert [record.kind for record in [await anext(db.changes(2))]] == ["zqlite.promote"]
    async with await zqlite.open(path, key=KEY) as db:
        assert (db.fenced, db.epoch) == (None, 6)
