"""Writing and reading, and what is left on disk."""

# A test may block its own loop.
# ruff: noqa: ASYNC110, ASYNC240

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ghostwire import zqlite
from ghostwire.errors import ConflictError, PermissionDeniedError, UnavailableError, ValidationError
from ghostwire.testing.crash import Recorder
from ghostwire.zqlite import Operation, Statement, writer
from ghostwire.zqlite.engine import PAGE_BYTES
from ghostwire.zqlite.watch import Seen
from ghostwire.zqlite.writer import CHECKPOINT_PAGES

KEY = bytes(range(32))


async def test_rows_by_position_name_and_dict(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, data BLOB)")
    await db.execute("INSERT INTO t(name, data) VALUES (?, ?)", ("a", b"\0"))
    await db.execute("INSERT INTO t(name, data) VALUES (:name, :data)", {"name": "b", "data": None})
    rows = await db.query("SELECT * FROM t ORDER BY id")
    assert rows == [(1, "a", b"\0"), (2, "b", None)]
    assert rows[0]["name"] == "a"
    assert rows[0][1] == "a"
    assert rows[0].asdict() == {"id": 1, "name": "a", "data": b"\0"}
    assert rows[0].keys() == ("id", "name", "data")
    with pytest.raises(KeyError, match="no column 'nome'"):
        rows[0]["nome"]
    number, *_ = rows[1]
    assert number == 2
    assert await db.query_one("SELECT name FROM t WHERE id = ?", (2,)) == ("b",)
    assert await db.query_one("SELECT name FROM t WHERE id = 3") is None
    assert await db.query("SELECT * FROM t WHERE 0") == []


async def test_rows_as_structs(db: zqlite.Store) -> None:
    class Thing(msgspec.Struct):
        id: int
        name: str

    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)")
    await db.execute("INSERT INTO t(name) VALUES ('a'), ('b')")
    assert zqlite.into(await db.query("SELECT * FROM t"), Thing) == [Thing(1, "a"), Thing(2, "b")]
    with pytest.raises(ValidationError, match="does not fit Thing"):
        zqlite.into(await db.query("SELECT id, NULL AS name FROM t"), Thing)


async def test_execute_says_what_it_did(db: zqlite.Store) -> None:
    made = await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    assert (made.seq, made.changes) == (1, 0)
    put = await db.execute("INSERT INTO t(v) VALUES (1), (2) RETURNING id, v")
    assert (put, put.changes, put.rowid, put.seq) == ([(1, 1), (2, 2)], 2, 2, 2)
    read = await db.execute("SELECT v FROM t")
    assert (read, read.seq) == ([(1,), (2,)], 0)
    many = await db.executemany("INSERT INTO t(v) VALUES (?)", [(n,) for n in range(10)])
    assert (many.changes, many.seq) == (10, 3)


async def test_errors_name_the_fault_and_leave_nothing(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE, n NOT NULL DEFAULT 1 CHECK (n > 0))")
    await db.execute("INSERT INTO t(v) VALUES ('a')")
    with pytest.raises(ConflictError, match=r"t\.v"):
        await db.execute("INSERT INTO t(v) VALUES ('b'), ('a')")
    with pytest.raises(ValidationError, match="NOT NULL"):
        await db.execute("INSERT INTO t(v, n) VALUES ('b', NULL)")
    with pytest.raises(ValidationError, match="CHECK"):
        await db.execute("INSERT INTO t(v, n) VALUES ('b', 0)")
    with pytest.raises(ValidationError, match="syntax"):
        await db.execute("INSRT INTO t(v) VALUES ('b')")
    with pytest.raises(ValidationError, match="binding"):
        await db.execute("INSERT INTO t(v) VALUES (?)", ())
    with pytest.raises(ValidationError, match="no value was given for the parameter 'v'"):
        await db.execute("INSERT INTO t(v) VALUES (:v)", {"w": "b"})
    with pytest.raises(ValidationError, match="no value was given for the parameter 'v'"):
        await db.query("SELECT :v", {})
    with pytest.raises(ValidationError, match="no value was given for the parameter 'v'"):
        await anext(db.stream("SELECT :v", {}))
    with pytest.raises(ValidationError, match="dict or a sequence"):
        await anext(db.stream("SELECT ?", 5))  # type: ignore[arg-type]
    with pytest.raises(ConflictError):
        await db.executemany("INSERT INTO t(v) VALUES (?)", [("c",), ("a",)])
    with pytest.raises(ValidationError):
        await db.query("SELECT * FROM nowhere")
    assert await db.query("SELECT v FROM t") == [("a",)]
    assert await db.query("SELECT max(seq) FROM change") == [(2,)]


async def test_queries_cannot_write(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(a)")
    for sql in ("INSERT INTO t VALUES (1)", "DELETE FROM t", "CREATE TABLE u(a)", "DROP TABLE t"):
        with pytest.raises(ValidationError, match="only reads"):
            await db.query(sql)
    for sql in ("PRAGMA query_only = 0", "ATTACH ':memory:' AS m", "BEGIN"):
        with pytest.raises(PermissionDeniedError):
            await db.query(sql)


async def test_read_is_one_moment(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(a)")
    with db.read() as r:
        assert r.value("SELECT count(*) FROM t") == 0
        await db.execute("INSERT INTO t VALUES (1)")
        assert r.value("SELECT count(*) FROM t") == 0
    with db.read() as r:
        assert r.query("SELECT a AS n FROM t")[0]["n"] == 1
        assert r.query_one("SELECT a FROM t WHERE a = ?", (2,)) is None
        assert r.query_many("SELECT ? AS x", [(1,), (2,)]) == [(1,), (2,)]
        assert [row["a"] for row in r.stream("SELECT a FROM t UNION ALL SELECT 5")] == [1, 5]


async def test_a_read_that_is_over_answers_no_more(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(a)")
    await db.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
    with db.read() as reader:
        rows = reader.stream("SELECT a FROM t")
        assert next(rows) == (1,)
    late: list[Callable[[], object]] = [
        lambda: reader.query("SELECT a FROM t"),
        lambda: reader.query_one("SELECT a FROM t"),
        lambda: reader.query_many("SELECT a FROM t", [()]),
        lambda: reader.blob("t", "a", 1),
        lambda: next(reader.stream("SELECT a FROM t")),
        lambda: next(rows),
    ]
    for read in late:
        with pytest.raises(UnavailableError, match="this read is over"):
            read()
    with db.read() as again:
        assert again.value("SELECT count(*) FROM t") == 2


async def test_another_event_loop_is_refused(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(a)")

    async def write() -> None:
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO t VALUES (1)")

    async def submit() -> None:
        await db.submit(Operation("x", "", (Statement("INSERT INTO t VALUES (1)"),)))

    async def query() -> None:
        await db.query("SELECT * FROM t")

    async def follow() -> None:
        async for _ in db.changes(0):
            return

    for asked in (write, submit, query, follow):
        with pytest.raises(ValidationError, match="belongs to the event loop that opened it"):
            await asyncio.to_thread(asyncio.run, asked())
    with pytest.raises(ValidationError, match="belongs to the event loop that opened it"):
        await asyncio.to_thread(db.submit, Operation("x", "", ()))
    assert await db.query("SELECT count(*) FROM t") == [(0,)]


async def test_one_file_is_left_and_opens_under_another_name(tmp_path: Path) -> None:
    first = tmp_path / "deep" / "a.db"
    db = await zqlite.open(first, key=KEY)
    await db.execute("CREATE TABLE t(a); INSERT INTO t VALUES ('kept')")
    await db.close()
    assert [entry.name for entry in first.parent.iterdir()] == ["a.db"]
    assert first.stat().st_mode & 0o777 == 0o600
    second = tmp_path / "b.db"
    first.rename(second)
    async with await zqlite.open(second, key=KEY) as db:
        assert await db.query("SELECT a FROM t") == [("kept",)]


async def test_a_long_log_is_emptied_once_nothing_is_written(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    async with await zqlite.open(path, key=KEY) as db:
        await db.execute("CREATE TABLE t(a)")
        await db.execute("INSERT INTO t VALUES (?)", (bytes((CHECKPOINT_PAGES + 1) * PAGE_BYTES),))
        assert log.stat().st_size > CHECKPOINT_PAGES * PAGE_BYTES
        async with asyncio.timeout(30):
            while log.stat().st_size:
                await asyncio.sleep(0.05)
        assert await db.query("SELECT length(a) FROM t") == [((CHECKPOINT_PAGES + 1) * PAGE_BYTES,)]


async def test_closed_store_refuses_and_close_repeats(path: Path) -> None:
    db = await zqlite.open(path, key=KEY)
    queued = asyncio.gather(*(db.execute(f"CREATE TABLE t{n}(a)") for n in range(5)))
    await asyncio.sleep(0)
    await asyncio.gather(db.close(), db.close())
    assert len(await queued) == 5
    for call in (db.execute("SELECT 1"), db.query("SELECT 1"), db.checkpoint()):
        with pytest.raises(UnavailableError, match="closed"):
            await call
    with pytest.raises(UnavailableError), db.read():
        pass


async def test_plaintext_is_nowhere(path: Path) -> None:
    db = await zqlite.open(path, key=KEY)
    await db.execute("CREATE TABLE secretive(a); INSERT INTO secretive VALUES ('the-needle')")
    seen = b"".join(entry.read_bytes() for entry in path.parent.iterdir())
    await db.close()
    seen += path.read_bytes()
    assert b"the-needle" not in seen
    assert b"secretive" not in seen
    assert b"SQLite format 3" not in seen


async def test_big_sorts_leave_the_memory_for_no_file(path: Path) -> None:
    """SQLite's temporary files would be plain text: there are none."""
    with Recorder() as disk:
        async with await zqlite.open(path, key=KEY, vfs=disk.name, cache_bytes=1 << 20) as db:
            await db.execute("CREATE TABLE t(a, b)")
            await db.executemany(
                "INSERT INTO t VALUES (?, ?)", [(os.urandom(200), f"the-needle-{n}") for n in range(20_000)]
            )
            await db.execute("CREATE INDEX i ON t(a, b)")
            assert len(await db.query("SELECT b FROM t ORDER BY b || a DESC")) == 20_000
        written = [step for step in disk.steps if step.act == "write"]
    assert {step.file for step in written} <= {path.name, f"{path.name}-wal", f"{path.name}-journal"}
    assert not any(b"the-needle" in step.data for step in written)


@pytest.mark.parametrize("cipher", ["aegis", "chacha20"])
async def test_ciphers_and_passphrase(path: Path, cipher: str) -> None:
    async with await zqlite.open(path, passphrase="correct horse", cipher=cipher) as db:
        await db.execute("CREATE TABLE t(a)")
    async with await zqlite.open(path, passphrase="correct horse", cipher=cipher) as db:
        assert await db.query("SELECT * FROM t") == []


async def test_many_readers_beside_writers(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY)")

    async def write(n: int) -> None:
        await db.execute("INSERT INTO t VALUES (?)", (n,))
        assert await db.query("SELECT a FROM t WHERE a = ?", (n,)) == [(n,)]

    await asyncio.gather(*(write(n) for n in range(200)))
    assert db.stats["writer_commits"] < 150
    assert db.stats["pool_open"] <= 64


async def test_a_slow_query_is_interrupted(db: zqlite.Store) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(UnavailableError, match="interrupted"):
        await db.query(endless, within=0.05)
    task = asyncio.create_task(db.query(endless))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await db.query("SELECT 1") == [(1,)]
    async with asyncio.timeout(10):
        while db.stats["pool_busy"]:
            await asyncio.sleep(0.01)


async def test_a_dropped_store_frees_its_file(path: Path) -> None:
    db = await zqlite.open(path, key=KEY)
    await db.execute("CREATE TABLE t(a)")
    del db
    gc.collect()
    async with asyncio.timeout(10):
        while True:
            try:
                again = await zqlite.open(path, key=KEY)
            except ConflictError:
                await asyncio.sleep(0.01)
                continue
            break
    await again.close()


def test_an_unclosed_store_does_not_keep_the_process(path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom ghostwire import zqlite\n"
        "async def main():\n"
        "    db = await zqlite.open(sys.argv[1], key=bytes(32))\n"
        "    await db.execute('CREATE TABLE t(a)')\n"
        "    await db.query('SELECT 1')\n"
        "    return db\n"
        "kept = asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, os.fspath(path)], timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_reader_that_stays_delays_the_emptying_of_the_log_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    tries: asyncio.Queue[Seen] = asyncio.Queue()

    def watch(seen: Seen) -> None:
        if seen.what == "checkpoint":
            loop.call_soon_threadsafe(tries.put_nowait, seen)

    log = Path(f"{path}-wal")
    async with await zqlite.open(path, key=KEY, watch=watch) as db:
        await db.execute("CREATE TABLE t(a)")
        with db.read() as reader:
            assert reader.query("SELECT * FROM t") == []
            await db.execute("INSERT INTO t VALUES (1)")
            async with asyncio.timeout(10):  # more than one that waited for the reader would let through
                for _ in range(5):
                    await tries.get()
            assert log.stat().st_size > 0
        async with asyncio.timeout(30):
            while log.stat().st_size:
                await tries.get()
