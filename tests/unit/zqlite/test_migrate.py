"""Migrations: forward, once, unchanged, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, DatabaseError, GhostwireError, ValidationError
from ghostwire.zqlite import Migration, migrate

ONE = Migration(1, "one", "CREATE TABLE a(x); INSERT INTO a VALUES ('semi;colon'); -- done")
TWO = Migration(
    2, "two", "ALTER TABLE a ADD COLUMN y; CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;"
)


async def test_forward_once(db: zqlite.Store) -> None:
    assert await migrate.apply(db, [ONE]) == [ONE]
    assert await migrate.pending(db, [ONE, TWO]) == [TWO]
    assert await migrate.apply(db, [ONE, TWO]) == [TWO]
    assert await migrate.apply(db, [ONE, TWO]) == []
    assert await db.query("SELECT x, y FROM a") == [("semi;colon", None)]
    assert await db.query("SELECT kind, actor FROM change") == [("migration", "1-one"), ("migration", "2-two")]


async def test_refusals_change_nothing(db: zqlite.Store) -> None:
    await migrate.apply(db, [ONE, TWO])
    before = await db.query("SELECT max(seq) FROM change")
    with pytest.raises(DatabaseError, match="put the original text back"):
        await migrate.apply(db, [Migration(1, "one", ONE.sql + " "), TWO, Migration(3, "three", "CREATE TABLE c(x)")])
    with pytest.raises(DatabaseError, match=r"has migration 2 \(two\), this release knows 1"):
        await migrate.apply(db, [ONE])
    with pytest.raises(ValidationError, match="without a gap"):
        await migrate.apply(db, [ONE, Migration(3, "three", "CREATE TABLE c(x)")])
    assert await db.query("SELECT max(seq) FROM change") == before


async def test_a_step_is_whole(db: zqlite.Store) -> None:
    await migrate.apply(db, [ONE])
    bad = Migration(2, "bad", "CREATE TABLE b(x); INSERT INTO b VALUES (1); INSERT INTO nowhere VALUES (1)")
    with pytest.raises(ValidationError, match="nowhere"):
        await migrate.apply(db, [ONE, bad])
    assert await db.query("SELECT name FROM sqlite_schema WHERE name = 'b'") == []
    assert await migrate.apply(db, [ONE, TWO]) == [TWO]


async def test_the_ledger_cannot_be_edited(db: zqlite.Store) -> None:
    await migrate.apply(db, [ONE])
    with pytest.raises(GhostwireError):
        await db.execute("DELETE FROM zq_migration")


async def test_a_rehearsal_leaves_nothing_behind(db: zqlite.Store, tmp_path: Path) -> None:
    await migrate.apply(db, [ONE])
    head = db.head
    directory = tmp_path / "rehearsals"
    directory.mkdir()
    taken = await migrate.rehearse(db, [ONE, TWO], directory)
    assert [step for step, _ in taken] == [TWO]
    bad = Migration(2, "bad", "INSERT INTO nowhere VALUES (1)")
    with pytest.raises(ValidationError, match="nowhere"):
        await migrate.rehearse(db, [ONE, bad], directory)
    assert db.head == head
    assert list(directory.iterdir()) == []
    assert await db.query("SELECT * FROM a") == [("semi;colon",)]
    await db.verify()


async def test_a_copy_is_of_its_moment_and_its_own(db: zqlite.Store, tmp_path: Path) -> None:
    await migrate.apply(db, [ONE])
    async with await db.copy(tmp_path / "copy.db") as copy:
        await copy.execute("DELETE FROM a")
        assert await db.query("SELECT count(*) FROM a") == [(1,)]
        await db.execute("INSERT INTO a VALUES (2)")
        assert await copy.query("SELECT count(*) FROM a") == [(0,)]
        with pytest.raises(ConflictError, match="already open"):
            await db.copy(tmp_path / "copy.db")
    with pytest.raises(ConflictError, match="there already"):
        await db.copy(tmp_path / "copy.db")
