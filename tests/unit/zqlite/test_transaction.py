"""Transactions steered from the loop."""

from __future__ import annotations

import asyncio

import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, UnavailableError, ValidationError
from ghostwire.zqlite import changelog


@pytest.fixture
async def table(db: zqlite.Store) -> zqlite.Store:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)")
    return db


async def test_all_or_nothing(table: zqlite.Store) -> None:
    async with table.transaction() as tx:
        await tx.execute("INSERT INTO t(v) VALUES ('a')")
        await tx.executemany("INSERT INTO t(v) VALUES (?)", [("b",), ("c",)])
        assert await tx.query("SELECT v FROM t ORDER BY v") == [("a",), ("b",), ("c",)]
        assert await tx.query_one("SELECT count(*) AS n FROM t WHERE v > ?", ("a",)) == (2,)
        assert await table.query("SELECT * FROM t") == []
    assert len(await table.query("SELECT * FROM t")) == 3

    async def fail() -> None:
        async with table.transaction() as tx:
            await tx.execute("DELETE FROM t")
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        await fail()
    assert len(await table.query("SELECT * FROM t")) == 3
    assert await table.query("SELECT max(seq) FROM change") == [(2,)]


async def test_one_row_of_the_log_and_one_for_each_event(table: zqlite.Store) -> None:
    async with table.transaction(actor="alice", kind="deposit") as tx:
        await tx.event("wallet-1", "deposited", {"amount": "1.5"})
        await tx.execute("INSERT INTO t(v) VALUES ('a')")
        await tx.execute("UPDATE t SET v = 'b'")
        await tx.event("wallet-1", "noted", b"raw")
    assert [(record.seq, record.kind, record.actor) for record in tx.committed] == [
        (2, "deposit", "alice"),
        (3, "deposited", "alice"),
        (4, "noted", "alice"),
    ]
    assert [image.op for image in table.rows(tx.committed[0].body)] == ["insert", "update"]
    assert changelog.event(tx.committed[0].body) is None
    assert changelog.event(tx.committed[1].body) == zqlite.Event("wallet-1", {"amount": "1.5"})
    assert changelog.event(tx.committed[2].body) == zqlite.Event("wallet-1", b"raw")
    async with table.transaction() as tx:
        await tx.query("SELECT * FROM t")
    assert tx.committed == ()
    with pytest.raises(ValidationError, match="cannot be encoded"):
        async with table.transaction() as tx:
            await tx.event("x", "y", object())


async def test_a_failed_statement_leaves_the_others(table: zqlite.Store) -> None:
    async with table.transaction() as tx:
        await tx.execute("INSERT INTO t(v) VALUES ('a')")
        with pytest.raises(ConflictError):
            await tx.execute("INSERT OR FAIL INTO t(v) VALUES ('b'), ('a')")
        with pytest.raises(ValidationError):
            await tx.execute("CREATE TABLE u(a); nonsense")
        await tx.execute("INSERT INTO t(v) VALUES ('c')")
    images = table.rows(tx.committed[0].body)
    assert [image.values["v"] for image in images] == ["a", "c"]
    assert await table.query("SELECT v FROM t") == [("a",), ("c",)]
    assert table.catalogue.find("u") is None


async def test_a_statement_that_ends_the_transaction_ends_it(table: zqlite.Store) -> None:
    await table.execute("CREATE TRIGGER no AFTER INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'never'); END")
    with pytest.raises(ValidationError, match="never"):
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO t(v) VALUES ('a')")
    assert await table.execute("SELECT * FROM t") == []
    await table.execute("DROP TRIGGER no")
    await table.execute("INSERT INTO t(v) VALUES ('a')")


async def test_others_wait_and_then_proceed(table: zqlite.Store) -> None:
    async def add() -> None:
        async with table.transaction() as tx:
            (n,) = await tx.query_one("SELECT count(*) FROM t") or (0,)
            await asyncio.sleep(0)
            await tx.execute("INSERT INTO t(v) VALUES (?)", (n,))

    await asyncio.gather(*(add() for _ in range(20)))
    assert await table.query("SELECT v FROM t ORDER BY v") == [(n,) for n in range(20)]


async def test_silence_is_rolled_back(table: zqlite.Store) -> None:
    async def dawdle() -> None:
        async with table.transaction(patience=0.05) as tx:
            await tx.execute("INSERT INTO t(v) VALUES ('a')")
            await asyncio.sleep(0.5)
            await tx.execute("INSERT INTO t(v) VALUES ('b')")

    with pytest.raises(UnavailableError, match="rolled back"):
        await dawdle()
    await table.execute("INSERT INTO t(v) VALUES ('c')")
    assert await table.query("SELECT v FROM t") == [("c",)]


async def test_misuse_is_named(table: zqlite.Store) -> None:
    async with table.transaction() as tx:
        with pytest.raises(ValidationError, match="through its `tx`"):
            await table.execute("INSERT INTO t(v) VALUES (1)")
        with pytest.raises(ValidationError, match="through its `tx`"):
            async with table.transaction():
                pass
    with pytest.raises(UnavailableError, match="over"):
        await tx.execute("SELECT 1")
    with pytest.raises(ValidationError, match="one block"):
        async with tx:
            pass


async def test_cancelled_inside(table: zqlite.Store) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        async with table.transaction() as tx:
            await tx.execute("INSERT INTO t(v) VALUES ('a')")
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await table.execute("INSERT INTO t(v) VALUES ('b')")
    assert await table.query("SELECT v FROM t") == [("b",)]
