"""INSERT ... ON CONFLICT into tables with sealed columns does what it does to plain ones."""

from __future__ import annotations

from typing import Any

import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, ValidationError
from ghostwire.zqlite.operation import Operation, Statement

COLUMNS = "id INTEGER PRIMARY KEY, name TEXT {}, n INTEGER, code TEXT UNIQUE"
ROWS = [(1, "one", 1, "a"), (2, "two", 2, "b")]


@pytest.fixture
async def twins(db: zqlite.Store) -> zqlite.Store:
    """Two tables of the same rows, one of them with a sealed column."""
    await db.execute(f"CREATE TABLE plain({COLUMNS.format('')})")
    await db.execute(f"CREATE TABLE secret({COLUMNS.format('X').replace('name TEXT X', 'name ENCRYPTED TEXT')})")
    for table in ("plain", "secret"):
        await db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", ROWS)
    return db


async def rows(db: zqlite.Store, table: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.query(f"SELECT * FROM {table} ORDER BY id")]


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("INSERT INTO T VALUES (1, 'x', 9, 'z'), (3, 'y', 9, 'y') ON CONFLICT (id) DO NOTHING", ()),
        ("INSERT INTO T VALUES (1, 'x', 9, 'z'), (3, 'y', 9, 'y') ON CONFLICT DO NOTHING", ()),
        (
            "INSERT INTO T(id, name, n) VALUES (?, ?, ?), (?, ?, 7) ON CONFLICT(id) DO UPDATE SET "
            "name = excluded.name, n = n + excluded.n + ? WHERE n < ?",
            (1, "new", 5, 4, "four", 100, 50),
        ),
        (
            "INSERT INTO T(id, name, n) VALUES (:id, :name, 5) ON CONFLICT(id) DO UPDATE SET (name, n) = "
            "(SELECT T.name || '/' || excluded.name, :more) WHERE T.name <> excluded.name;",
            {"id": 2, "name": "it's (new) ON CONFLICT", "more": 3},
        ),
        (
            "INSERT INTO T(id, name, n) VALUES (2, ?3, ?1) ON CONFLICT(id) DO UPDATE SET n = ?2, code = excluded.code",
            (1, 2, "x"),
        ),
        (
            "INSERT INTO T(code, name) VALUES ('b', ?) ON CONFLICT(code) DO UPDATE SET name = excluded.name",
            ("by code",),
        ),
        (
            "WITH given(i) AS (VALUES (1), (2), (3)) INSERT INTO T(id, name, n) SELECT i, 'g' || i, ? FROM given "
            "WHERE true ON CONFLICT(id) DO UPDATE SET name = 'was ' || name, n = excluded.n -- the end",
            (8,),
        ),
        (
            'INSERT INTO "T"("id", "name") VALUES (2, \'q\') on conflict("id") do update set "name" = excluded."name"',
            (),
        ),
    ],
)
async def test_it_is_as_in_a_plain_table(twins: zqlite.Store, sql: str, params: Any) -> None:
    for table in ("plain", "secret"):
        await twins.execute(
            sql.replace("T.", f"{table}.").replace("INTO T", f"INTO {table}").replace('"T"', table), params
        )
    assert await rows(twins, "secret") == await rows(twins, "plain") != ROWS
    await twins.verify()


async def test_in_every_way_of_writing(twins: zqlite.Store) -> None:
    text = "INSERT INTO secret(id, name, n) VALUES (?, ?, 0) ON CONFLICT(id) DO UPDATE SET name = excluded.name"
    await twins.executemany(text, [(2, "a"), (3, "b"), (3, "c")])
    await twins.submit(Operation("put", "", (Statement(text, (1, "d")),)))
    async with twins.transaction() as tx:
        await tx.execute(text, (1, "e"))
    found = [(id_, name) for id_, name, *_ in await rows(twins, "secret")]
    assert found == [(1, "e"), (2, "a"), (3, "c")]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("INSERT INTO secret(id, name) VALUES (1, 'x') ON CONFLICT(name) DO NOTHING", ValidationError),
        ("INSERT INTO secret(name) VALUES ('x') ON CONFLICT(id) DO NOTHING", ValidationError),
        ("INSERT INTO secret(id) VALUES (1) ON CONFLICT(id) DO UPDATE SET n = 1 RETURNING n", ValidationError),
        ("INSERT INTO secret(id, name) VALUES (7, 'x'), (7, 'y') ON CONFLICT(id) DO NOTHING", ConflictError),
        ("INSERT INTO secret(id, code) VALUES (7, 'a') ON CONFLICT(id) DO NOTHING", ConflictError),
    ],
)
async def test_what_it_cannot_do_leaves_nothing(twins: zqlite.Store, sql: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await twins.execute(sql)
    assert await rows(twins, "secret") == ROWS
