"""A table given another form while it is written: nothing is lost, and a form that does not fit is refused."""

from __future__ import annotations

import asyncio
import random

import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, GhostwireError, NotFoundError, ValidationError
from ghostwire.zqlite import rebuild
from ghostwire.zqlite.rebuild import Rebuild

SCHEMA = """
CREATE TABLE node(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, n INT);
CREATE TABLE twin(id INTEGER PRIMARY KEY, name TEXT, n INT);
CREATE TABLE child(node INT REFERENCES node(id) ON DELETE CASCADE);
CREATE TABLE heard(n);
CREATE INDEX by_n ON node(n);
CREATE BITMAP INDEX by_parity ON node(n);
CREATE TRIGGER hear AFTER UPDATE OF n ON node WHEN new.n = 77 BEGIN INSERT INTO heard VALUES (new.n); END;
CREATE VIEW seen AS SELECT name FROM node;
"""
FORM = Rebuild(
    "node",
    "CREATE TABLE node(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, n INT CHECK (n >= 0), "
    "twice INT NOT NULL, note DEFAULT 'none', thrice AS (n * 3) STORED)",
    {"twice": "n * 2"},
)

LENIENT = Rebuild("node", FORM.sql.replace("twice INT NOT NULL", "twice INT DEFAULT 0"), FORM.values)
"""A form that the old statements go on to work with."""


@pytest.fixture
async def nodes(db: zqlite.Store) -> zqlite.Store:
    await db.execute(SCHEMA)
    rows = [(n, f"node-{n}", n) for n in range(1, 4001)]
    for table in ("node", "twin"):
        await db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
    await db.execute("INSERT INTO child VALUES (1), (2)")
    return db


async def write(db: zqlite.Store, seed: int, done: asyncio.Event) -> int:
    """Write to the table and the same to its twin, until `done`; how often."""
    draw = random.Random(seed)
    count = 0
    while not done.is_set():
        act = draw.choice(
            (
                "UPDATE {} SET n = n + 1 WHERE id = :id",
                "DELETE FROM {} WHERE id = :id",
                "UPDATE {} SET id = :new WHERE id = :id",
                "INSERT INTO {}(id, name, n) VALUES (:new, :name, :id)",
                "UPDATE {} SET name = CASE WHEN id = :id THEN :name ELSE name END WHERE id BETWEEN :id AND :id + 9",
            )
        )
        params = {"id": draw.randrange(3, 4000), "new": seed + 10 * count, "name": f"{seed}/{count}"}
        used = {key: value for key, value in params.items() if f":{key}" in act}
        await db.execute(f"{act.format('node')}; {act.format('twin')}", used)
        count += 1
    return count


async def test_what_is_written_meanwhile_is_there(nodes: zqlite.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "MOST_ROWS", 64)
    done = asyncio.Event()
    writers = [asyncio.create_task(write(nodes, 100_000 + seed, done)) for seed in range(4)]
    await rebuild.run(nodes, LENIENT)
    done.set()
    assert sum(await asyncio.gather(*writers)) > 40
    found = await nodes.query("SELECT id, name, n FROM node ORDER BY id")
    assert found == await nodes.query("SELECT id, name, n FROM twin ORDER BY id")
    await nodes.verify()


async def test_everything_around_the_table_stays(nodes: zqlite.Store) -> None:
    await nodes.execute("DELETE FROM node WHERE id = 4000")
    await rebuild.run(nodes, LENIENT)
    assert await nodes.query("SELECT * FROM node WHERE id = 7") == [(7, "node-7", 7, 14, "none", 21)]
    assert await nodes.query("SELECT count(*) FROM child") == [(2,)]
    assert await nodes.query("PRAGMA integrity_check") == [("ok",)]
    plan = await nodes.query("EXPLAIN QUERY PLAN SELECT id FROM node WHERE n = 3")
    assert "by_n" in plan[0]["detail"]
    assert await nodes.query("SELECT bitmap_count(bitmap('by_parity', 5))") == [(1,)]
    await nodes.execute("UPDATE node SET n = 77 WHERE id = 1")
    assert await nodes.query("SELECT n FROM heard") == [(77,)]
    await nodes.execute("DELETE FROM node WHERE id = 2")
    assert await nodes.query("SELECT node FROM child") == [(1,)]
    with pytest.raises(ConflictError, match="FOREIGN KEY"):
        await nodes.execute("INSERT INTO child VALUES (123456)")
    assert (await nodes.execute("INSERT INTO node(name) VALUES ('next')")).rowid == 4001
    assert await nodes.query("SELECT count(*) FROM seen") == [(3999,)]
    names = await nodes.query("SELECT name FROM sqlite_schema WHERE name LIKE '%rebuild%'")
    assert names == []
    await nodes.verify()


async def test_it_goes_on_where_it_was(nodes: zqlite.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "MOST_ROWS", 256)
    copy, copied = rebuild._copy, 0

    def stop(*arguments: object) -> object:
        nonlocal copied
        copied += 1
        if copied == 6:
            raise KeyError("on purpose")
        return copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuild, "_copy", stop)
    with pytest.raises(GhostwireError):
        await rebuild.run(nodes, FORM)
    there = await nodes.query("SELECT count(*) FROM node_rebuild")
    assert 0 < there[0][0] < 4000
    await nodes.execute("DELETE FROM node WHERE id < 100; UPDATE node SET n = 5 WHERE id = 200")
    monkeypatch.setattr(rebuild, "_copy", copy)
    await rebuild.run(nodes, FORM)
    assert await nodes.query("SELECT count(*), sum(id = 200 AND twice = 10) FROM node") == [(3901, 1)]
    assert (await nodes.query("SELECT count(*) FROM change WHERE kind = 'zqlite.rebuild'"))[0][0] > 6
    await nodes.verify()


async def test_another_form_starts_anew(nodes: zqlite.Store) -> None:
    await nodes.work(lambda applier: rebuild._start(applier, FORM))
    await rebuild.run(nodes, LENIENT)
    assert await nodes.query("SELECT sum(twice) = 2 * sum(n) FROM node") == [(1,)]


async def test_a_table_without_row_ids(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE w(a, b TEXT COLLATE NOCASE, c, PRIMARY KEY (b, a)) WITHOUT ROWID")
    await db.executemany("INSERT INTO w VALUES (?, ?, ?)", [(n % 7, f"K{n}", n) for n in range(300)])
    form = Rebuild("w", "CREATE TABLE w(c TEXT, a, b TEXT COLLATE NOCASE, PRIMARY KEY (b, a)) WITHOUT ROWID")
    await db.work(lambda applier: rebuild._start(applier, form))
    await db.execute("UPDATE w SET a = 9, c = 'moved' WHERE b = 'k5'; DELETE FROM w WHERE b = 'k6'")
    await rebuild.run(db, form)
    assert await db.query("SELECT count(*), sum(c = 'moved' AND a = 9) FROM w") == [(299, 1)]
    await db.verify()


@pytest.mark.parametrize(
    ("form", "error", "words"),
    [
        (Rebuild("nobody", "CREATE TABLE nobody(a)"), NotFoundError, "no table nobody"),
        (Rebuild("node", "CREATE TABLE other(a)"), ValidationError, "one CREATE TABLE node"),
        (Rebuild("node", "CREATE TABLE node(a); DROP TABLE node"), ValidationError, "one CREATE TABLE node"),
        (
            Rebuild("node", "CREATE TABLE node(id PRIMARY KEY, n) WITHOUT ROWID"),
            ValidationError,
            "key cannot be changed",
        ),
        (Rebuild("node", "CREATE TABLE node(id INTEGER PRIMARY KEY, n)", {"id": "n"}), ValidationError, "key cannot"),
        (Rebuild("node", "CREATE TABLE node(id INTEGER PRIMARY KEY, n)", {"m": "n"}), ValidationError, "no column m"),
        (Rebuild("node", "CREATE TABLE node(n REFERENCES twin(id))"), ValidationError, "foreign keys of its own"),
        (Rebuild("node", "CREATE TABLE node(id INTEGER PRIMARY KEY, n ENCRYPTED INT)"), ValidationError, "sealed"),
        (
            Rebuild("node", "CREATE TABLE node(id INTEGER PRIMARY KEY, n INT CHECK (n < 3000))"),
            ValidationError,
            "CHECK",
        ),
        (
            Rebuild("node", "CREATE TABLE node(id INTEGER PRIMARY KEY, n INT UNIQUE)", {"n": "n / 2"}),
            ConflictError,
            "same",
        ),
        (Rebuild("node", "CREATE TABLE node(name TEXT)"), ValidationError, "no such column: n"),
    ],
)
async def test_what_does_not_fit_is_refused(
    nodes: zqlite.Store, form: Rebuild, error: type[Exception], words: str
) -> None:
    before = await nodes.query("SELECT * FROM sqlite_schema WHERE name NOT LIKE 'zq%' ORDER BY name")
    with pytest.raises(error, match=words):
        await rebuild.run(nodes, form)
    assert await nodes.query("SELECT * FROM sqlite_schema WHERE name NOT LIKE 'zq%' ORDER BY name") == before
    assert await nodes.query("SELECT count(*) FROM node") == [(4000,)]
    assert await nodes.query("SELECT * FROM zq_meta WHERE key LIKE 'rebuild%'") == []
    await nodes.verify()


async def test_a_table_that_is_altered_meanwhile_stays_as_it_is(nodes: zqlite.Store) -> None:
    await nodes.work(lambda applier: rebuild._start(applier, FORM))
    await nodes.execute("ALTER TABLE node ADD COLUMN more")
    with pytest.raises(ConflictError, match="was altered while it was rebuilt"):
        await rebuild.run(nodes, FORM)
    assert await nodes.query("SELECT count(more) FROM node") == [(0,)]


async def test_where_the_log_was_dropped_it_starts_anew(nodes: zqlite.Store) -> None:
    await nodes.work(lambda applier: rebuild._start(applier, FORM))
    await nodes.execute("UPDATE node SET n = 5 WHERE id = 9")
    await nodes.retain((await nodes.snapshot()).seq)
    with pytest.raises(ConflictError, match="start again"):
        await rebuild.run(nodes, FORM)
    await rebuild.run(nodes, FORM)
    assert await nodes.query("SELECT twice FROM node WHERE id = 9") == [(10,)]


async def test_rows_of_others_are_not_left_behind(nodes: zqlite.Store) -> None:
    form = Rebuild("node", "CREATE TABLE node(name TEXT, n INT)")
    with pytest.raises(GhostwireError):
        await rebuild.run(nodes, form)
    assert await nodes.query("SELECT count(*) FROM node") == [(4000,)]


async def test_a_table_of_that_name_is_nobody_elses_copy(nodes: zqlite.Store) -> None:
    await nodes.execute("CREATE TABLE node_rebuild(a)")
    with pytest.raises(ConflictError, match="there is a table node_rebuild"):
        await rebuild.run(nodes, FORM)
    assert await nodes.query("SELECT count(*) FROM node_rebuild") == [(0,)]
