"""One read transaction on one connection, in the thread that asks: the fast path."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import apsw

from ghostwire.errors import GhostwireError, PermissionDeniedError, ValidationError
from ghostwire.zqlite import faults
from ghostwire.zqlite.guard import Guard
from ghostwire.zqlite.rows import Row, fetch, shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ghostwire.zqlite.operation import Params

_OWN: Final = apsw.SQLITE_PREPARE_PERSISTENT


class Reader:
    """What `db.read()` hands out. Everything in one `with` sees the same moment of the store."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._guard = Guard(connection)
        self._execute = connection.cursor().execute
        self._streams: set[apsw.Cursor] = set()

    def query(self, text: str, params: Params = ()) -> list[Row]:
        """All rows of a SELECT."""
        try:
            cursor = self._execute(text, params)
            try:
                make = shape(cursor.get_description())
            except apsw.ExecutionCompleteError:  # no row, and its description went with it
                return []
            return list(map(make, cursor.fetchall()))
        except Exception as error:
            raise self.explain(error) from error

    def query_one(self, text: str, params: Params = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        try:
            cursor = self._execute(text, params)
            values = cursor.fetchone()
            return None if values is None else shape(cursor.get_description())(values)
        except Exception as error:
            raise self.explain(error) from error

    def value(self, text: str, params: Params = ()) -> Any:
        """The first column of the first row, or None where there is none."""
        try:
            values = self._execute(text, params).fetchone()
        except Exception as error:
            raise self.explain(error) from error
        return None if values is None else values[0]

    def query_many(self, text: str, many: Iterable[Params]) -> list[Row]:
        """The rows of one SELECT for each of `many` parameters, one after the other."""
        rows: list[Row] = []
        try:
            cursor = self.connection.cursor().executemany(text, many)
            rows = fetch(cursor)
        except Exception as error:
            raise self.explain(error) from error
        return rows

    def stream(self, text: str, params: Params = ()) -> Iterator[Row]:
        """The rows of a SELECT one by one, as SQLite finds them. It ends with the read transaction at the latest."""
        make: type[Row] | None = None
        cursor = self.connection.cursor()
        self._streams.add(cursor)
        try:
            for values in cursor.execute(text, params):
                if make is None:
                    make = shape(cursor.get_description())
                yield make(values)
        except apsw.Error as error:
            raise self.explain(error) from error
        finally:
            self._streams.discard(cursor)
            cursor.close(True)

    def begin(self) -> None:
        """Start the transaction; its moment is that of the first read."""
        self._own("BEGIN")

    def reset(self) -> bool:
        """End whatever is open. False when the connection can no longer be trusted."""
        with contextlib.suppress(apsw.Error):
            while self._streams:
                self._streams.pop().close(True)
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

    def _own(self, text: str) -> None:
        self._guard.trusting = True
        try:
            self._execute(text, prepare_flags=_OWN)
        finally:
            self._guard.trusting = False
