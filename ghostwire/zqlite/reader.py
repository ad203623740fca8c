"""One read transaction on one connection, in the thread that asks: the fast path."""

from __future__ import annotations

import contextlib
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any, Final, TypeVar

import apsw

from ghostwire.errors import GhostwireError, PermissionDeniedError, UnavailableError, ValidationError
from ghostwire.zqlite import faults
from ghostwire.zqlite.guard import Guard
from ghostwire.zqlite.rows import Row, fetch, into, shape
from ghostwire.zqlite.watch import SILENT, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ghostwire.zqlite.operation import Params

T = TypeVar("T")

_OWN: Final = apsw.SQLITE_PREPARE_PERSISTENT


class Reader:
    """What `db.read()` hands out. Everything in one `with` sees the same moment of the store."""

    def __init__(self, connection: apsw.Connection, watch: Watch = SILENT) -> None:
        self.connection = connection
        self._watch = watch
        self._alert = watch.alert
        self._guard = Guard(connection)
        self._statement = self._execute = connection.cursor().execute
        self._shapes: dict[str, Callable[[Any], Row]] = {}
        self._streams: set[apsw.Cursor] = set()
        self._blobs: list[apsw.Blob] = []

    def query(self, text: str, params: Params = ()) -> list[Row]:
        """All rows of a SELECT."""
        started = clock()
        try:
            cursor = self._execute(text, params)
            make = self._shapes.get(text)
            if make is None:
                make = self._shape(text, cursor)
            rows = list(map(make, cursor.fetchall()))
        except Exception as error:
            raise self._refusal(error) from error
        if (took := clock() - started) > self._alert:
            self._watch.tell("query", took, text, len(rows))
        return rows

    def query_as(self, kind: type[T], text: str, params: Params = ()) -> list[T]:
        """All rows of a SELECT as `kind`, a msgspec struct whose fields are the columns. See `zqlite.into`."""
        return into(self.query(text, params), kind)

    def query_one(self, text: str, params: Params = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        started = clock()
        try:
            cursor = self._execute(text, params)
            values = cursor.fetchone()
            row = None if values is None else (self._shapes.get(text) or self._shape(text, cursor))(values)
        except Exception as error:
            raise self._refusal(error) from error
        if (took := clock() - started) > self._alert:
            self._watch.tell("query", took, text, values is not None)
        return row

    def value(self, text: str, params: Params = ()) -> Any:
        """The first column of the first row, or None where there is none."""
        started = clock()
        try:
            values = self._execute(text, params).fetchone()
        except Exception as error:
            raise self._refusal(error) from error
        if (took := clock() - started) > self._alert:
            self._watch.tell("query", took, text, values is not None)
        return None if values is None else values[0]

    def query_many(self, text: str, many: Iterable[Params]) -> list[Row]:
        """The rows of one SELECT for each of `many` parameters, one after the other."""
        started = clock()
        try:
            rows = fetch(self._begun().cursor().executemany(text, many))
        except Exception as error:
            raise self._refusal(error) from error
        if (took := clock() - started) > self._alert:
            self._watch.tell("query", took, text, len(rows))
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
                self._watch.tell("query", took, text, count)

    def begin(self) -> None:
        """Start the transaction; its moment is that of the first read."""
        self._shapes.clear()  # a statement's columns stay as they are within one transaction only
        self._execute = self._statement
        self._own("BEGIN")

    def alive(self) -> bool:
        """Whether the connection still answers."""
        with contextlib.suppress(apsw.Error):
            self._own("SELECT 1 FROM sqlite_schema")
            return self.reset()
        return False

    def reset(self) -> bool:
        """End whatever is open. False when the connection can no longer be trusted."""
        with contextlib.suppress(apsw.Error):
            while self._streams:
                self._streams.pop().close(True)
            while self._blobs:
                self._blobs.pop().close(True)
            self._execute = _over
            if self.connection.in_transaction:
                self._own("ROLLBACK")  # on the cursor of the queries: it ends one that was not read to its end
            return True
        return False

    def explain(self, error: Exception) -> GhostwireError:
        """The caller's error."""
        if isinstance(error, apsw.AuthError) and self._guard.denial:
            return PermissionDeniedError(f"a query may not {self._guard.denial}")
        if isinstance(error, apsw.ReadOnlyError):
            return ValidationError("a query only reads: use execute to write")
        return faults.translate(error)

    def _refusal(self, error: Exception) -> GhostwireError:
        return faults.of_statement(error) if isinstance(error, KeyError) else self.explain(error)

    def _shape(self, text: str, cursor: apsw.Cursor) -> Callable[[Any], Row]:
        """The class of a statement's rows, kept until the next transaction."""
        try:
            make = self._shapes[text] = shape(cursor.get_description())
        except apsw.ExecutionCompleteError:  # it has no row, and its description went with it
            return Row
        return make

    def _begun(self) -> apsw.Connection:
        if self._execute is _over:
            _over()
        return self.connection

    def _own(self, text: str) -> None:
        self._guard.trusting = True
        try:
            self._statement(text, prepare_flags=_OWN)
        finally:
            self._guard.trusting = False


def _over(*_: Any, **_options: Any) -> Any:
    """Stands for a connection that others may be using by now."""
    raise UnavailableError("this read is over: read within its `with`")
