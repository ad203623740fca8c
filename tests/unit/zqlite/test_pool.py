"""The read pool's bounds and counts."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import apsw
import pytest

from ghostwire import zqlite
from ghostwire.errors import DatabaseError, UnavailableError
from ghostwire.zqlite import pool
from ghostwire.zqlite.pool import Job
from ghostwire.zqlite.reader import Reader

KEY = bytes(range(32))


async def test_bounds_waits_and_timeouts(path: Path) -> None:
    async with await zqlite.open(path, key=KEY, readers=(1, 2), read_timeout=0.05) as db:
        assert db.stats["pool_open"] == 1
        with db.read(), db.read():
            assert (db.stats["pool_open"], db.stats["pool_busy"]) == (2, 2)
            with pytest.raises(UnavailableError, match="all 2 read connections"), db.read():
                pass
            with pytest.raises(UnavailableError, match="bigger pool"):
                await db.query("SELECT 1")
        assert db.stats["pool_busy"] == 0
        assert db.stats["pool_timeouts"] == 2
        assert await asyncio.gather(*(db.query("SELECT ?", (n,)) for n in range(20))) == [[(n,)] for n in range(20)]
        assert db.stats["pool_open"] == 2


async def test_a_reader_held_over_close_is_counted(path: Path) -> None:
    db = await zqlite.open(path, key=KEY, read_timeout=0.05)
    with db.read() as r:
        r.query("SELECT 1")
        await db.close()
        assert db.stats["pool_leaks"] == 1
    async with await zqlite.open(path, key=KEY) as again:
        await again.execute("CREATE TABLE t(a)")


async def test_a_caller_that_goes_while_its_read_begins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    began, cancel = Reader.begin, Job.cancel
    ran = []

    def begin(reader: Reader) -> None:
        assert gone.wait(10)
        began(reader)

    def leave(job: Job) -> None:
        cancel(job)
        gone.set()

    async with await zqlite.open(path, key=KEY, readers=(1, 1)) as db:
        monkeypatch.setattr(Reader, "begin", begin)
        monkeypatch.setattr(Job, "cancel", leave)
        with pytest.raises(UnavailableError, match="took longer"):
            await db.run(ran.append, within=0.01)
        assert await db.query("SELECT 1") == [(1,)]
        assert not ran, "it would not be stopped any more"


async def test_an_interrupted_read_begins_nothing_more(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("CREATE TABLE t(v); INSERT INTO t VALUES ('one')")
        with db.read() as reader:
            assert reader.query("SELECT v FROM t") == [("one",)]
            reader.interrupt()
            for ask in (
                lambda: reader.value("SELECT v FROM t"),
                lambda: reader.query_many("SELECT ?", [(1,)]),
                lambda: next(reader.stream("SELECT v FROM t")),
                lambda: reader.blob("t", "v", 1),
            ):
                with pytest.raises(UnavailableError, match="interrupted"):
                    ask()
        assert await db.query("SELECT v FROM t") == [("one",)]


async def test_a_thread_that_has_just_taken_a_job_is_not_counted_on(path: Path) -> None:
    waits, taken = threading.Semaphore(0), threading.Event()
    goes_on, answered = threading.Event(), threading.Event()

    class Jobs(SimpleQueue[Any]):
        def get(self, *_: Any) -> Any:
            waits.release()
            job = super().get()
            taken.set()
            assert goes_on.wait(30)
            return job

    def ask(_: Reader) -> bool:
        return answered.wait(5)

    async with await zqlite.open(path, key=KEY, readers=(1, 4)) as db:
        db._pool._jobs = Jobs()
        goes_on.set()
        await db.query("SELECT 1")
        waits.acquire()
        waits.acquire()  # its one thread waits again
        goes_on.clear()
        taken.clear()
        asking = asyncio.ensure_future(db.run(ask))
        assert await asyncio.to_thread(taken.wait, 30)
        answering = asyncio.ensure_future(db.run(lambda _: answered.set()))
        await asyncio.sleep(0)
        goes_on.set()
        assert await asking, "the other one was run beside it"
        await answering


async def test_a_connection_that_cannot_be_used_counts_for_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Reader:
        raise apsw.ExtensionLoadingError("not this one")

    async with await zqlite.open(path, key=KEY, readers=(1, 2)) as db:
        with db.read():
            monkeypatch.setattr(pool, "Reader", refuse)
            for _ in range(3):
                with pytest.raises(DatabaseError, match="not this one"), db.read():
                    pass
            assert (db.stats["pool_open"], db.stats["pool_busy"]) == (1, 1)
            monkeypatch.undo()
            with db.read() as other:
                assert other.value("SELECT 1") == 1
