"""Calls to the disk that fail: a clear error, no wrong answer, no hang, no leak, and the file opens again."""

# A test may block its own loop.
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ghostwire import zqlite
from ghostwire.errors import DatabaseError, GhostwireError, ResourceExhaustedError
from ghostwire.testing.crash import Fault, FaultVFS
from ghostwire.zqlite import Operation, Statement
from ghostwire.zqlite.changelog import verify
from ghostwire.zqlite.subscription import page

KEY = bytes(range(32))
EVERY = int(os.environ.get("GHOSTWIRE_FAULT_STEP", "5"))


async def work(path: Path, vfs: FaultVFS) -> tuple[int, list[GhostwireError], bool]:
    """Use a store for a while: the last acknowledged seq, the errors, whether it ever opened."""
    errors: list[GhostwireError] = []
    told = 0
    try:
        db = await zqlite.open(path, key=KEY, vfs=vfs.name, readers=(1, 2), read_timeout=1)
    except GhostwireError as error:
        return 0, [error], False
    try:
        for n in range(12):
            try:
                if n == 0:
                    told = (await db.execute("CREATE TABLE t(n INTEGER PRIMARY KEY, data)")).seq
                elif n == 6:
                    await db.checkpoint()
                elif n % 3 == 0:
                    async with db.transaction() as tx:
                        await tx.execute("INSERT INTO t VALUES (?, ?)", (n, bytes(9000)))
                    told = tx.committed[-1].seq
                else:
                    operation = Operation("put", "", (Statement("INSERT INTO t VALUES (?, ?)", (n, bytes(50)), 1),))
                    told = (await db.submit(operation)).seq
                rows = await db.query("SELECT n, length(data) FROM t ORDER BY n")
                assert all(length == (9000 if k % 3 == 0 else 50) for k, length in rows)
            except GhostwireError as error:
                errors.append(error)
    finally:
        await db.close()
    return told, errors, True


async def survives(path: Path, told: int) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        records = await db.run(lambda reader: page(reader, 0))
        assert len(list(verify(records))) >= told
        assert await db.query("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.integration
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("kind", ["error", "full", "short"])
async def test_the_nth_call(tmp_path: Path, kind: str, lasting: bool) -> None:
    calls = {"error": ("read", "write", "sync", "truncate", "open"), "full": ("write",), "short": ("read",)}[kind]
    with FaultVFS(Fault(kind, 1 << 60, calls)) as counting:
        await work(tmp_path / "whole.db", counting)
        total = counting.count
    assert total > 20
    await asyncio.sleep(0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for at in range(1, total + 1, EVERY):
        directory = tmp_path / f"{at}"
        directory.mkdir()
        with FaultVFS(Fault(kind, at, calls, lasting)) as vfs:
            async with asyncio.timeout(30):
                told, errors, opened = await work(directory / "store.db", vfs)
        assert not any(type(error).__name__ == "InternalError" for error in errors), errors
        if opened or (directory / "store.db").exists():
            await survives(directory / "store.db", told)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


async def test_a_failed_sync_stops_all_writing(tmp_path: Path) -> None:
    fatal: list[DatabaseError] = []
    with FaultVFS() as vfs:
        db = await zqlite.open(tmp_path / "store.db", key=KEY, vfs=vfs.name, on_fatal=fatal.append)
        await db.execute("CREATE TABLE t(a)")
        await db.execute("INSERT INTO t VALUES (1)")
        vfs.fault = Fault("error", 1, ("sync",))
        answers = await asyncio.gather(
            *(db.execute("INSERT INTO t VALUES (?)", (n,)) for n in range(10)), return_exceptions=True
        )
        assert all(isinstance(answer, DatabaseError) for answer in answers)
        vfs.fault = None  # the disk seems well again: no matter
        with pytest.raises(DatabaseError, match="stopped writing after a disk error"):
            await db.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(DatabaseError, match="stopped writing"):
            async with db.transaction():
                pass
        with pytest.raises(DatabaseError, match="stopped writing"):
            await db.checkpoint()
        assert await db.query("SELECT a FROM t") == [(1,)]
        assert len(fatal) == 1
        assert db.fatal is fatal[0]
        await db.close()
        assert (tmp_path / "store.db-wal").exists()
    await survives(tmp_path / "store.db", 2)


async def test_a_full_disk_refuses_writes_and_recovers(tmp_path: Path) -> None:
    with FaultVFS() as vfs:
        db = await zqlite.open(tmp_path / "store.db", key=KEY, vfs=vfs.name)
        await db.execute("CREATE TABLE t(a)")
        await db.execute("INSERT INTO t VALUES (1)")
        vfs.fault = Fault("full", 1, ("write",), lasting=True)
        answers = await asyncio.gather(
            *(db.execute("INSERT INTO t VALUES (?)", (n,)) for n in range(10)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {ResourceExhaustedError}
        with pytest.raises(ResourceExhaustedError, match="disk is full"):
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO t VALUES (5)")
        assert await db.query("SELECT a FROM t") == [(1,)]
        vfs.fault = None
        assert (await db.execute("INSERT INTO t VALUES (2)")).seq == 3
        assert await db.query("SELECT a FROM t") == [(1,), (2,)]
        await db.close()
    await survives(tmp_path / "store.db", 3)


async def test_a_full_disk_fails_the_big_write_alone(tmp_path: Path) -> None:
    """A group that does not fit is taken apart, so that one huge write cannot fail the small ones beside it."""
    with FaultVFS() as vfs:
        db = await zqlite.open(tmp_path / "store.db", key=KEY, vfs=vfs.name)
        await db.execute("CREATE TABLE t(a)")
        vfs.fault = Fault("full", 1, ("write",))
        first, *others = await asyncio.gather(
            *(db.execute("INSERT INTO t VALUES (?)", (n,)) for n in range(5)), return_exceptions=True
        )
        assert vfs.struck == 1
        assert not any(isinstance(answer, Exception) for answer in (first, *others))
        assert await db.query("SELECT a FROM t ORDER BY a") == [(n,) for n in range(5)]
        await db.close()
