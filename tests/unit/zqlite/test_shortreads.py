"""SELECTs that rust_ext runs: what apsw would have answered, for short ones alone, and nothing held that must go."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from ghostwire import zqlite
from ghostwire._native import sqlite
from ghostwire.errors import DatabaseError, GhostwireError, PermissionDeniedError, UnavailableError, ValidationError
from ghostwire.testing.crash import Fault, FaultVFS
from ghostwire.zqlite import reader as readers
from ghostwire.zqlite import shortreads
from ghostwire.zqlite.reader import Reader
from ghostwire.zqlite.rows import shape
from ghostwire.zqlite.shortreads import ShortReads

from .conftest import KEY

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {}) SELECT count(*) FROM n"


@pytest.fixture(autouse=True)
def learns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is."""
    monkeypatch.setattr(shortreads, "SHORT_NS", 10**15)
    monkeypatch.setattr(readers, "LONG_NS", 10**15)


@pytest.fixture
def reader() -> Iterator[Reader]:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    connection.execute("INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, x'0003')")
    reader = Reader(connection)
    reader.begin()
    yield reader
    reader.close()


def short(reader: Reader, text: str) -> sqlite.Statement:
    """The statement that is run in apsw's place."""
    return reader._short.statements[text]


def test_the_second_time_it_is_run_here(reader: Reader) -> None:
    text = "SELECT * FROM t WHERE id = ?"
    assert text not in reader._short.statements
    apsws = reader.query_one(text, (1,))
    here = short(reader, text).first((1,))
    assert here == apsws == (1, "one")
    again = reader.query_one(text, (1,))
    assert again is not None
    assert (again["v"], again.asdict(), again.keys()) == ("one", {"id": 1, "v": "one"}, ("id", "v"))
    assert reader.query_one(text, (9,)) is None
    assert short(reader, text).first((9,)) == ()
    assert reader.query(text, [3]) == [(3, b"\0\3")]


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM t",
        "WITH a AS (SELECT 1) DELETE FROM t",
        "PRAGMA user_version",
        "EXPLAIN SELECT 1",
        "EXPLAIN QUERY PLAN SELECT 1",
        "/* SELECT */ PRAGMA user_version",
        "-- SELECT\nEXPLAIN SELECT 1",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT 1; -- and more",
        "SELECT 1\0",
        "SELECT '\ud800'",
        "SELECT * FROM missing",
        "-- nothing",
        "",
    ],
)
def test_other_texts_are_left_to_apsw(reader: Reader, text: str) -> None:
    assert reader._short._connection.prepare(text, shape) is None


@pytest.mark.parametrize("text", ["SELECT 1", " select 1 ;\n", "VALUES (1)", "WITH a AS (SELECT 1) SELECT * FROM a"])
def test_one_select_is_not(reader: Reader, text: str) -> None:
    statement = reader._short._connection.prepare(text, shape)
    assert statement is not None
    assert statement.all(()) == [(1,)]


def test_a_changed_table_gives_its_new_columns(reader: Reader) -> None:
    text = "SELECT * FROM t WHERE id = 1"
    for _ in range(2):
        found = reader.query_one(text)
        assert found is not None
        assert found.keys() == ("id", "v")
    reader.reset()
    reader.connection.execute("ALTER TABLE t ADD COLUMN more DEFAULT 7; ALTER TABLE t RENAME COLUMN v TO w")
    reader.begin()
    assert short(reader, text).all(()) is not None
    found = reader.query_one(text)
    assert found is not None
    assert found.asdict() == {"id": 1, "w": "one", "more": 7}
    reader.reset()
    reader.connection.execute("DROP TABLE t")
    reader.begin()
    with pytest.raises(ValidationError, match="no such table: t"):
        reader.query(text)


def test_what_became_forbidden_is_refused(reader: Reader) -> None:
    text = "SELECT * FROM t"
    assert len(reader.query(text)) == len(reader.query(text)) == 3
    verdict = apsw.SQLITE_OK
    asked = []

    def authorize(*question: Any) -> int:
        asked.append(question)
        return verdict

    reader.connection.authorizer = authorize
    assert short(reader, text).all(()) is not None
    assert asked, "it is compiled anew under another authorizer"
    verdict = apsw.SQLITE_DENY
    reader.connection.authorizer = authorize
    assert short(reader, text).all(()) is None
    with pytest.raises(PermissionDeniedError):
        reader.query(text)


def test_begin_and_rollback_outlive_an_authorizer(reader: Reader) -> None:
    reader.reset()
    reader.connection.authorizer = reader._guard._authorize  # everything is compiled anew, under the guard
    reader.begin()
    assert reader.connection.in_transaction
    with pytest.raises(PermissionDeniedError):
        reader.query("ROLLBACK")
    assert reader.reset()
    assert not reader.connection.in_transaction


def test_a_long_one_is_given_up_and_answered_all_the_same(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ENDLESS.format("?")
    assert reader.value(text, (10,)) == 10
    assert short(reader, text).values((10,)) == (10,)
    assert short(reader, text).values((10**6,)) is None
    monkeypatch.setattr(shortreads, "SHORT_NS", 0)
    assert reader.value(text, (10**6,)) == 10**6
    assert text not in reader._short.statements, "apsw took long: it is not tried here again"
    assert reader.value(text, (10,)) == 10


def test_short_ones_do_not_add_up_to_a_long_one(reader: Reader) -> None:
    text = ENDLESS.format("100")
    reader.value(text)
    assert [short(reader, text).values(()) for _ in range(500)] == [(100,)] * 500


def test_one_that_takes_long_in_a_single_step_is_forgotten(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "SELECT count(*) FROM t"
    assert reader.value(text) == 3
    assert text in reader._short.statements
    monkeypatch.setattr(readers, "LONG_NS", -1)
    reader._alert = -1
    assert reader.value(text) == 3
    assert text not in reader._short.statements


def test_functions_that_raise(reader: Reader) -> None:
    fails: BaseException | None = None

    def answer(_: Any) -> int:
        if fails is not None:
            raise fails
        return 42

    reader.connection.create_scalar_function("answer", answer)
    text = "SELECT answer(v) FROM t"
    assert reader.query(text) == reader.query(text) == [(42,)] * 3
    fails = PermissionDeniedError("not this one")
    assert short(reader, text).all(()) is None
    for ask in (reader.query, reader.query_one, reader.value):
        with pytest.raises(PermissionDeniedError, match="not this one"):
            ask(text)
    fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        reader.query(text)
    fails = None
    assert reader.query(text) == [(42,)] * 3


def test_objects_of_python_come_back(reader: Reader) -> None:
    given = object()
    reader.connection.create_scalar_function("given", lambda: apsw.pyobject(given))
    text = "SELECT NULL, given()"
    assert reader.query(text) == reader.query(text) == [(None, given)]
    assert text in reader._short.statements


def test_functions_that_read_with_the_same_reader(reader: Reader) -> None:
    inner = "SELECT v FROM t WHERE id = 1"
    outer = "SELECT id, again() FROM t"
    ids = "SELECT id FROM t"
    reader.connection.create_scalar_function("again", lambda: f"{reader.value(inner)} {len(reader.query(ids))}")
    assert (reader.value(inner), len(reader.query(ids))) == ("one", 3)
    for _ in range(3):
        assert reader.query(outer) == [(number, "one 3") for number in (1, 2, 3)]
    nested: list[Any] = []
    reader.connection.create_scalar_function("itself", lambda: nested.append(short(reader, text).all(())))
    text = "SELECT itself() IS NULL"
    reader._short.learn(text, 0)
    assert short(reader, text).all(()) == [(1,)]
    assert nested == [None], "a statement that runs is not begun again"


def test_no_more_are_kept_than_the_bound(reader: Reader) -> None:
    for number in range(shortreads._MOST + 44):
        reader.value(f"SELECT {number}")
    kept = list(reader._short.statements)
    assert (len(kept), kept[0], kept[-1]) == (shortreads._MOST, "SELECT 44", f"SELECT {shortreads._MOST + 43}")


def test_a_statement_keeps_its_connection_open() -> None:
    connection = apsw.Connection(":memory:")
    shorts = ShortReads(connection)
    shorts.learn("SELECT 1", 0)
    statement = shorts.statements["SELECT 1"]
    with pytest.raises(apsw.BusyError):
        connection.close()
    assert statement.values(()) == (1,)
    shorts.close()
    assert statement.values(()) is None
    assert not shorts.begin()
    shorts.learn("SELECT 2", 0)
    assert not shorts.statements


def test_a_closed_connection_is_refused() -> None:
    connection = apsw.Connection(":memory:")
    connection.close()
    with pytest.raises(apsw.ConnectionClosedError):
        sqlite.Connection(connection)


async def test_a_read_that_is_over(db: zqlite.Store) -> None:
    with db.read() as reader:
        assert [reader.value("SELECT 1") for _ in range(3)] == [1, 1, 1]
    for ask in (reader.value, reader.query, reader.query_one):
        with pytest.raises(UnavailableError, match="this read is over"):
            ask("SELECT 1")


async def test_a_caller_that_waits_no_more_ends_a_row_of_short_reads(path: Path) -> None:
    def forever(reader: Reader) -> None:
        while True:
            reader.value("SELECT 1")

    async with await zqlite.open(path, key=KEY, readers=(1, 1)) as db:
        with pytest.raises(UnavailableError):
            await db.run(forever, within=0.05)
        assert await db.query("SELECT 1") == [(1,)]


async def test_one_moment_and_then_the_next(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, secret ENCRYPTED TEXT)")
    text, plain = "SELECT secret FROM t ORDER BY id", "SELECT count(*) FROM t"
    for number in range(5):
        with db.read() as reader:
            before = reader.query(text)
            assert len(before) == reader.value(plain) == number
            await db.execute("INSERT INTO t VALUES (?, ?)", (number, f"s{number}"))
            assert (reader.query(text), reader.value(plain)) == (before, number)
        with db.read() as reader:
            assert [row["secret"] for row in reader.query(text)] == [f"s{n}" for n in range(number + 1)]


async def test_writes_within_reads_and_reads_within_each_other(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(a)")
    text = "SELECT count(*) FROM t"
    with db.read() as outer, db.read() as inner:
        for number in range(20):
            await db.execute("INSERT INTO t VALUES (?)", (number,))
        assert outer.value(text) == outer.value(text) == 20
        await db.execute("DELETE FROM t")
        assert (outer.value(text), inner.value(text)) == (20, 0)
    with pytest.raises(ZeroDivisionError), db.read():
        raise ZeroDivisionError
    with db.read() as after:
        assert after.value(text) == 0


async def test_reads_beside_streams_and_blobs_end_with_their_transaction(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
    await db.executemany("INSERT INTO t VALUES (?, zeroblob(10))", [(n,) for n in range(1, 50)])
    for _ in range(3):
        with db.read() as reader:
            stream = reader.stream("SELECT id FROM t")
            assert next(stream) == (1,)
            blob = reader.blob("t", "v", 1)
            assert reader.value("SELECT count(*) FROM t") == 49
            assert reader.query_one("SELECT id FROM t ORDER BY id") == (1,)
            assert (next(stream), blob.read()) == ((2,), bytes(10))
        assert reader.connection.txn_state("main") == apsw.SQLITE_TXN_NONE
        assert not reader.connection.in_transaction


@pytest.mark.parametrize("ask", ["query", "query_one", "value", "query_many", "stream"])
def test_a_transaction_that_the_disk_has_ended_is_not_gone_on_with(tmp_path: Path, ask: str) -> None:
    reads: dict[str, Callable[[Reader], Any]] = {
        "query": lambda reader: reader.query(count),
        "query_one": lambda reader: reader.query_one(count),
        "value": lambda reader: reader.value(count),
        "query_many": lambda reader: reader.query_many(count, [()]),
        "stream": lambda reader: list(reader.stream(count)),
    }
    count = "SELECT count(*) FROM t"
    with FaultVFS() as vfs:
        other = apsw.Connection(str(tmp_path / "plain.db"))
        other.execute("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(100000))")
        reader = Reader(apsw.Connection(str(tmp_path / "plain.db"), vfs=vfs.name))
        reader.begin()
        assert reader.value(count) == 1
        assert short(reader, count).values(()) == (1,)
        reader.reset()
        other.execute("INSERT INTO t VALUES (2)")
        other.close()
        reader.begin()
        vfs.fault = Fault("error", at=2, calls=("read",))
        with pytest.raises(DatabaseError, match="the store failed: "):
            reads[ask](reader)
        assert vfs.struck == 1
        assert not reader.connection.in_transaction
        for again in reads.values():
            with pytest.raises(DatabaseError, match="the store failed within this read"):
                again(reader)
        reader.reset()
        reader.begin()
        assert [read(reader) for read in reads.values()] == [[(2,)], (2,), 2, [(2,)], [(2,)]]
        reader.close()


def test_what_is_no_text_is_refused_as_apsw_does(reader: Reader) -> None:
    wrong: list[Any] = [[], {}, bytearray(b"SELECT 1"), 5, None]
    for text in wrong:
        for ask in (reader.query, reader.query_one, reader.value):
            with pytest.raises(ValidationError, match=f"Expected a str not {type(text).__name__}"):
                ask(text)


async def test_a_read_that_breaks_off_within_its_rows_leaves_nothing_open(db: zqlite.Store) -> None:
    await db.execute("CREATE TABLE t(v); INSERT INTO t VALUES (x'00'), (x'ff'), (x'01')")
    torn, count = "SELECT CAST(v AS TEXT), ? FROM t", "SELECT count(*) FROM t"
    reads: list[Callable[[Reader], Any]] = [
        lambda reader: reader.query(torn, (1,)),
        lambda reader: reader.query_many(torn, [(1,), (2,)]),
        lambda reader: list(reader.stream(torn, (1,))),
    ]
    for read in reads:
        with db.read() as reader:
            reader.value(count)
        with pytest.raises(ValidationError, match="can't decode") as refused, db.read() as reader:
            read(reader)
        assert refused.tb, "it holds what was read with"
        assert reader.connection.txn_state("main") == apsw.SQLITE_TXN_NONE
        await db.execute("INSERT INTO t VALUES (1)")
        newest = await db.query(count)
        with db.read() as reader:
            assert reader.value(count) == newest[0][0]


async def test_the_same_errors(path: Path) -> None:
    async with await zqlite.open(path, key=KEY) as db:
        with db.read() as reader:
            text = "SELECT ?"
            reader.value(text, (1,))
            wrong: list[Any] = [(), (1, 2), ("\ud800",), (2**63,), {}, 5, (object(),), None]
            for params in wrong:
                told = []
                for shorts in (reader._short.statements, {}):
                    reader._shorts = shorts
                    with pytest.raises(GhostwireError) as refused:
                        reader.query(text, params)
                    told.append((type(refused.value), str(refused.value)))
                assert told[0] == told[1], params


def test_reading_and_writing_hard_through_a_vfs_and_functions_of_python(tmp_path: Path) -> None:
    """In a process of its own: threads that wait for each other for ever would stop this one, too."""
    code = Path(__file__).with_name("short_load.py")
    done = subprocess.run(
        [sys.executable, str(code), str(tmp_path / "store.db")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr
