"""What SQL asks of the indexes, on one connection.

    hash_lookup(index, value)     the row that holds the value, the first of several; hash_rows(index, value): all
    cidr_lookup(index, address)   the row of the longest prefix that holds it; cidr_rows(index, address): all
    bitmap(index, value, ...)     the rows with any of the values, all rows without one; bitmap_and, bitmap_or and
                                  bitmap_andnot combine such sets, bitmap_count(set) and bitmap_rows(set) end with them

What ends with `_rows` is a table of row ids: SELECT t.* FROM cidr_rows('i', ?) AS found JOIN t ON t.rowid = found.id.
In a read transaction an index is brought to its moment once; the writer's own statements, which see what is not
committed yet, read the table each time. Views, triggers and constraints cannot call any of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from ghostwire.errors import NotFoundError, ValidationError
from ghostwire.zqlite.index import log
from ghostwire.zqlite.index.definition import Kind
from ghostwire.zqlite.index.shared import build
from ghostwire.zqlite.index.tables import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ghostwire.zqlite.index.definition import Definition
    from ghostwire.zqlite.index.log import Target
    from ghostwire.zqlite.index.shared import Shared
    from ghostwire.zqlite.index.structure import Structure


class Session:
    """The indexes at a connection's moment."""

    def __init__(self, connection: apsw.Connection, shared: Shared) -> None:
        self._connection = connection
        self._shared = shared
        self._pinned: dict[str, Structure] = {}
        self._known: dict[str, Definition] = {}
        self._targets: dict[str, Target] = {}
        self._schema: Any = None
        self._written = 0
        self._reads = connection.readonly("main")
        self._file = bool(connection.filename)
        if self._reads:
            connection.set_rollback_hook(self._pinned.clear, id=self)  # every read transaction ends by a rollback

    def structure(self, name: Any, kind: Kind) -> Any:
        """The index of that name, as this transaction sees it.

        Raises NotFoundError where there is none, ValidationError where it is of another kind.
        """
        if not self._reads:
            self._unpin()
        found = self._pinned.get(name)
        if found is None:
            found = self._find(name)
            if self._connection.in_transaction or not self._file:
                self._pinned[name] = found
        if found.kind is not kind:
            raise ValidationError(f"index {name} is a {found.kind} index, this asks a {kind} index")
        return found

    def _unpin(self) -> None:
        """The connection may write: whatever it has read before may be past. A copy in memory is only ever built."""
        written = self._connection.total_changes()
        if self._file or written != self._written:
            self._pinned.clear()
            self._written = written

    def _find(self, name: Any) -> Structure:
        connection = self._connection
        moment = log.moment(connection) if self._reads else 0
        version = connection.pragma("schema_version")
        if version != self._schema or not self._reads:
            self._known, self._targets, self._schema = log.definitions(connection), {}, version
            if self._reads:
                self._shared.keep(set(self._known.values()), moment)
        target = self._targets.get(name)
        if target is None:
            definition = self._known.get(name.lower()) if isinstance(name, str) else None
            if definition is None:
                raise NotFoundError(f"there is no HASH, BITMAP or CIDR index {name!r}")
            target = self._targets[name] = log.target(connection, definition)
        return self._shared.at(connection, target, moment) if self._reads else build(connection, target)


def register(connection: apsw.Connection, shared: Shared) -> None:
    """Give a connection the functions and table-valued functions."""
    structure = Session(connection, shared).structure

    def hash_lookup(*values: Any) -> int | None:
        found: int | None = structure(values[0], Kind.HASH).first(values[1])
        return found

    def hash_rows(name: Any, value: Any) -> Iterable[tuple[int, ...]]:
        return ((rowid,) for rowid in structure(name, Kind.HASH).rows(value))

    def cidr_lookup(*values: Any) -> int | None:
        found: int | None = None if values[1] is None else structure(values[0], Kind.CIDR).longest(values[1])
        return found

    def cidr_rows(name: Any, address: Any) -> Iterable[tuple[int, ...]]:
        found: Iterable[tuple[int, ...]] = () if address is None else structure(name, Kind.CIDR).holding(address)
        return found

    def bitmap(*values: Any) -> Any:
        return apsw.pyobject(structure(values[0], Kind.BITMAP).rows(*values[1:]))

    functions: dict[str, tuple[Callable[..., Any], int]] = {
        "hash_lookup": (hash_lookup, 2),
        "cidr_lookup": (cidr_lookup, 2),
        "bitmap": (bitmap, -1),
        "bitmap_and": (_combination("intersection"), -1),
        "bitmap_or": (_combination("union"), -1),
        "bitmap_andnot": (_combination("difference"), -1),
        "bitmap_count": (_bitmap_count, 1),
    }
    for name, (function, count) in functions.items():
        connection.create_scalar_function(name, function, count, deterministic=True, flags=apsw.SQLITE_DIRECTONLY)
    RowsTable("id", ("name", "value"), hash_rows, estimate=1).register(connection, "hash_rows")
    RowsTable("id, length", ("name", "address"), cidr_rows, estimate=4).register(connection, "cidr_rows")
    RowsTable("id", ("found",), _bitmap_rows, estimate=10_000).register(connection, "bitmap_rows")


# pyroaring is imported by the first call only.


def _combination(operation: str) -> Callable[..., Any]:
    def function(*sets: Any) -> Any:
        from ghostwire.zqlite.index import bitmaps

        return apsw.pyobject(bitmaps.combined(operation, sets))

    return function


def _bitmap_count(*sets: Any) -> int:
    from ghostwire.zqlite.index import bitmaps

    return len(bitmaps.checked(sets[0]))


def _bitmap_rows(found: Any) -> Iterable[tuple[int, ...]]:
    from ghostwire.zqlite.index import bitmaps

    return ((rowid,) for rowid in bitmaps.rowids(found))
