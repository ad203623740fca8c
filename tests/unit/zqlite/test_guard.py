"""What statements may not do."""

from __future__ import annotations

import pytest

from ghostwire import zqlite
from ghostwire.errors import GhostwireError, PermissionDeniedError


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT op",
        "RELEASE op",
        "ROLLBACK TO op",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "DELETE FROM change",
        "UPDATE change SET body = x''",
        "INSERT INTO main.change VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        "DROP TABLE change",
        "ALTER TABLE change RENAME TO x",
        "CREATE INDEX i ON change(kind)",
        "CREATE TRIGGER tr AFTER INSERT ON change BEGIN SELECT 1; END",
        "CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM change; END; INSERT INTO t VALUES (1)",
        "UPDATE zq_meta SET value = 9",
        "DELETE FROM zq_layout",
        "CREATE TABLE zq_mine(a)",
        "CREATE TEMP TABLE x(a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA wal_checkpoint",
        "PRAGMA rekey = 'x'",
        "PRAGMA key",
        "PRAGMA application_id = 1",
    ],
)
async def test_refused(db: zqlite.Store, sql: str) -> None:
    await db.execute("CREATE TABLE t(a)")
    params = (9, 1, 1, "", "", b"", b"", b"") if "?" in sql else ()
    with pytest.raises(PermissionDeniedError, match="a statement may not"):
        await db.execute(sql, params)
    assert await db.query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'zq%'") == [
        ("change",),
        ("t",),
    ]
    assert await db.query("SELECT kind FROM change") in ([("ddl",)], [("ddl",), ("rows",)])


@pytest.mark.parametrize("sql", ["VACUUM", "UPDATE sqlite_schema SET sql = ''", "DELETE FROM sqlite_schema"])
async def test_refused_by_sqlite(db: zqlite.Store, sql: str) -> None:
    with pytest.raises(GhostwireError):
        await db.execute(sql)


async def test_harmless_pragmas(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(a)")
    assert (await db.query("PRAGMA table_info(t)"))[0]["name"] == "a"
    assert await db.execute("PRAGMA quick_check") == [("ok",)]


async def test_foreign_keys_hold(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id))")
    with pytest.raises(GhostwireError, match="FOREIGN KEY"):
        await db.execute("INSERT INTO c VALUES (1)")


async def test_double_quotes_are_names(db: zqlite.Store) -> None:
    with pytest.raises(GhostwireError, match="no such column"):
        await db.query('SELECT "text"')
