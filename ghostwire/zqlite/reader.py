"""One read transaction on one connection, in the thread that asks: the fast path."""

from __future__ import annotations

import contextlib
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final, TypeVar

import apsw

from ghostwire.errors import DatabaseError, GhostwireError, PermissionDeniedError, UnavailableError, ValidationError
from ghostwire.zqlite import faults
from ghostwire.zqlite.guard import Guard
from ghostwire.zqlite.rows import Row, fetch, into, shape
from ghostwire.zqlite.shortreads import LONG_NS, ShortReads
from ghostwire.zqlite.watch import SILENT, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ghostwire._native import sqlite
    from ghostwire.zqlite.operation import Params

T = TypeVar("T")

_OWN: Final = apsw.SQLITE_PREPARE_PERSISTENT
_NONE: Final[Mapping[str, sqlite.Statement]] = {}


class Reader:
    """What `db.read()` hands out. Everything in one `with` sees the same moment of the store."""

    def __init__(self, connection: apsw.Connection, watch: Watch = SILENT) -> None:
        self.connection = connection
        self._watch = watch
        self._alert = min(watch.alert, LONG_NS)
        self._guard = Guard(connection)
        self._guard.trusting = True
        self._short = ShortReads(connection)
        self._guard.trusting = False
        self._shorts = self._short.statements
        self._statement = self._execute = connection.cursor().execute
        self._stands = False
        self._shapes: dict[str, Callable[[Any], Row]] = {}
        self._streams: set[apsw.Cursor] = set()
        self._blobs: list[apsw.Blob] = []

    def query(self, text: str, params: Params = ()) -> list[Row]:
        """All rows of a SELECT."""
        started = clock()
        short = self._shorts.get(text) if text.__class__ is str else None
        try:
            rows: list[Row] | None = None if short is None else short.all(params)
        except DatabaseError:
            self._go_no_further()
            raise
        if rows is None:
            self._stands = True
            try:
                cursor = self._execute(text, params)
                make = self._shapes.get(text)
                if make is None:
                    make = self._shape(text, cursor)
                rows = list(map(make, cursor.fetchall()))
            except Exception as error:
                raise self._refusal(error) from error
            self._stands = False
            self._short.learn(text, clock() - started)
        if (took := clock() - started) > self._alert:
            self._tell(took, text, len(rows))
        return rows

    def query_as(self, kind: type[T], text: str, params: Params = ()) -> list[T]:
        """All rows of a SELECT as `kind`, a msgspec struct whose fields are the columns. See `zqlite.into`."""
        return into(self.query(text, params), kind)

    def query_one(self, text: str, params: Params = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        started = clock()
        short = self._shorts.get(text) if text.__class__ is str else None
        try:
            row: Any = None if short is None else short.first(params)
        except DatabaseError:
            self._go_no_further()
            raise
        if row is None:
            cursor, row = self._first(text, params)
            if row:
                row = (self._shapes.get(text) or self._shape(text, cursor))(row)
            self._short.learn(text, clock() - started)
        if (took := clock() - started) > self._alert:
            self._tell(took, text, len(row) > 0)
        return row or None

    def value(self, text: str, params: Params = ()) -> Any:
        """The first column of the first row, or None where there is none."""
        started = clock()
        short = self._shorts.get(text) if text.__class__ is str else None
        try:
            values = None if short is None else short.values(params)
        except DatabaseError:
            self._go_no_further()
            raise
        if values is None:
            values = self._first(text, params)[1]
            self._short.learn(text, clock() - started)
        if (took := clock() - started) > self._alert:
            self._tell(took, text, len(values) > 0)
        return values[0] if values else None

    def query_many(self, text: str, many: Iterable[Params]) -> list[Row]:
        """The rows of one SELECT for each of `many` parameters, one after the other."""
        started = clock()
        cursor = self._begun().cursor()
        try:
            # An interruption between two of them is none to SQLite.
            rows = fetch(cursor.executemany(text, (params for params in many if self._begun())))
        except Exception as error:
            raise self._refusal(error) from error
        finally:
            cursor.close(True)  # the trace of an error would hold it, and it the transaction
        if (took := clock() - started) > self._alert:
            self._tell(took, text, len(rows))
        return rows

    def plan(self, text: str, params: Params = ()) -> str:
        """How SQLite would go about a statement, a line for each step, indented below the one it serves."""
        depth: dict[int, int] = {}
        lines = []
        self.value("SELECT 1 FROM sqlite_schema")  # explaining does not look whether the schema has changed
        try:
            steps: list[Any] = self._execute(f"EXPLAIN QUERY PLAN {text}", params, can_cache=False).fetchall()
        except Exception as error:
            raise self._refusal(error) from error
        for number, parent, _, detail in steps:
            depth[number] = depth.get(parent, -1) + 1
            lines.append("  " * depth[number] + detail)
        return "\n".join(lines)

    def blob(self, table: str, column: str, rowid: int) -> apsw.Blob:
        """A BLOB or text in the row `rowid`, to be read in pieces: `read`, `seek`, `tell`, `length`; `with` closes it.

        Raises ValidationError where there is none. Sealed values have no pieces.
        """
        try:
            blob = self._begun().blob_open("main", table, column, rowid, False)
        except Exception as error:
            raise self._refusal(error) from error
        self._blobs.append(blob)
        return blob

    def stream(self, text: str, params: Params = ()) -> Iterator[Row]:
        """The rows of a SELECT one by one, as SQLite finds them. It ends with the read transaction at the latest."""
        make: type[Row] | None = None
        started, count = clock(), 0
        cursor = self._begun().cursor()
        self._streams.add(cursor)
        try:
            for values in cursor.execute(text, params):
                if make is None:
                    make = shape(cursor.get_description())
                count += 1
                yield make(values)
        except (apsw.Error, KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._refusal(error) from error
        finally:
            self._streams.discard(cursor)
            cursor.close(True)
            if (took := clock() - started) > self._alert:
                self._tell(took, text, count)

    def begin(self) -> None:
        """Start the transaction; its moment is that of the first read."""
        self._shapes.clear()  # a statement's columns stay as they are within one transaction only
        self._execute = self._statement
        self._shorts = self._short.statements
        self._stands = False
        self._own("BEGIN", self._short.begin)

    def interrupt(self) -> None:
        """From any thread: stop the statement that it is at, and refuse all others of this transaction."""
        self._shorts = _NONE
        self._execute = _interrupted
        self.connection.interrupt()

    def alive(self) -> bool:
        """Whether the connection still answers."""
        with contextlib.suppress(apsw.Error):
            self._statement("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            return self.reset()
        return False

    def reset(self) -> bool:
        """End whatever is open. False when the connection can no longer be trusted."""
        with contextlib.suppress(apsw.Error, DatabaseError):
            while self._streams:
                self._streams.pop().close(True)
            while self._blobs:
                self._blobs.pop().close(True)
            self._execute = _over
            self._shorts = _NONE
            if self.connection.in_transaction:  # the cursor of the queries ends one that was not read to its end
                self._own("ROLLBACK", _not if self._stands else self._short.rollback)
            return True
        return False

    def close(self) -> None:
        """End whatever is open, and the connection. Raises apsw.Error where that cannot be closed."""
        self.reset()
        self._short.close()
        self.connection.close()

    def explain(self, error: Exception) -> GhostwireError:
        """The caller's error."""
        if isinstance(error, apsw.AuthError) and self._guard.denial:
            return PermissionDeniedError(f"a query may not {self._guard.denial}")
        if isinstance(error, apsw.ReadOnlyError):
            return ValidationError("a query only reads: use execute to write")
        return faults.translate(error)

    def _go_no_further(self) -> None:
        """Where SQLite has ended the transaction: what else is asked in it would be answered of another moment."""
        if self._execute is self._statement and not self.connection.in_transaction:
            self._shorts, self._execute = _NONE, _failed

    def _refusal(self, error: Exception) -> GhostwireError:
        self._go_no_further()
        return faults.of_statement(error) if isinstance(error, KeyError) else self.explain(error)

    def _shape(self, text: str, cursor: apsw.Cursor) -> Callable[[Any], Row]:
        """The class of a statement's rows, kept until the next transaction."""
        try:
            make = self._shapes[text] = shape(cursor.get_description())
        except apsw.ExecutionCompleteError:  # it has no row, and its description went with it
            return Row
        return make

    def _begun(self) -> apsw.Connection:
        if self._execute is not self._statement:
            self._execute("")  # it refuses
        return self.connection

    def _first(self, text: str, params: Params) -> tuple[apsw.Cursor, Any]:
        """The values of the first row, or an empty tuple; the cursor stands there."""
        self._stands = True
        try:
            cursor = self._execute(text, params)
            return cursor, cursor.fetchone() or ()
        except Exception as error:
            raise self._refusal(error) from error

    def _own(self, text: str, short: Callable[[], bool]) -> None:
        """One of the store's own statements; `short` may do it."""
        self._guard.trusting = True
        try:
            if not short():
                self._statement(text, prepare_flags=_OWN)
        finally:
            self._guard.trusting = False

    def _tell(self, took: int, text: str, count: int) -> None:
        if took > LONG_NS:
            self._short.forget(text)
        if took > self._watch.alert:
            self._watch.tell("query", took, text, count)


def _over(*_: Any, **_options: Any) -> Any:
    """Stands for a connection that others may be using by now."""
    raise UnavailableError("this read is over: read within its `with`")


def _failed(*_: Any, **_options: Any) -> Any:
    """Stands for the connection of a transaction that SQLite has ended by itself."""
    raise DatabaseError("the store failed within this read, and the moment that it saw is lost: read again")


def _interrupted(*_: Any, **_options: Any) -> Any:
    """Stands for the connection of a read whose caller waits no more."""
    raise faults.translate(apsw.InterruptError())


def _not() -> bool:
    """For what rust_ext cannot do."""
    return False
