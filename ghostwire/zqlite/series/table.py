"""Series in SQL: the table-valued function `timeseries`, which every series' view is made of.

`SELECT at, c0 FROM timeseries WHERE series = 'node_metrics' AND key = 7 AND at >= :from` reads the blocks that may hold
what is asked for and no others. Without a key it goes over all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import apsw

from ghostwire.zqlite.layout import quote
from ghostwire.zqlite.series.schema import END, FIRST, MOST_ROLLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ghostwire.zqlite.series.schema import Schema
    from ghostwire.zqlite.series.shelf import Known, Shelf

_NAME: Final = "timeseries"
_SERIES, _KEY, _AT, _FIRST_VALUE = range(4)
_KEYS: Final = (
    "SELECT key FROM zq_block WHERE series = ? UNION SELECT key FROM zq_tail WHERE series = ? ORDER BY key"  # each once
)
_EQUAL: Final = apsw.SQLITE_INDEX_CONSTRAINT_EQ
_BOUNDS: Final = {
    apsw.SQLITE_INDEX_CONSTRAINT_EQ: "=",
    apsw.SQLITE_INDEX_CONSTRAINT_GE: ">=",
    apsw.SQLITE_INDEX_CONSTRAINT_GT: ">",
    apsw.SQLITE_INDEX_CONSTRAINT_LE: "<=",
    apsw.SQLITE_INDEX_CONSTRAINT_LT: "<",
}


def register(connection: apsw.Connection, shelf: Shelf) -> None:
    """Give a connection `timeseries`."""
    module: Any = _Module(shelf)
    connection.create_module(_NAME, module, eponymous_only=True, read_only=True)


def view(schema: Schema) -> str:
    """The statement that makes a series' view, with its columns under their names."""
    columns = [f"c{at} AS {quote(column.name)}" for at, column in enumerate(schema.columns)]
    listed = ", ".join([f"key AS {quote(schema.key)}", "at", *columns])
    return f"CREATE VIEW {quote(schema.name)} AS SELECT {listed} FROM {_NAME} WHERE series = '{schema.name}'"  # noqa: S608


class _Module:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def Connect(self, connection: apsw.Connection, *_: str) -> tuple[str, _Table]:  # noqa: N802 (apsw's names)
        connection.vtab_config(apsw.SQLITE_VTAB_INNOCUOUS)
        values = ", ".join(f"c{at}" for at in range(MOST_ROLLED))
        return f"CREATE TABLE t(series HIDDEN, key INTEGER, at INTEGER, {values})", _Table(connection, self._shelf)


class _Table:
    def __init__(self, connection: apsw.Connection, shelf: Shelf) -> None:
        self._connection = connection
        self._shelf = shelf

    def BestIndex(self, constraints: list[tuple[int, int]], _orders: Any) -> Any:  # noqa: N802
        """Take what bounds series, key and time; the plan's name lists it in the order of its values."""
        plan: list[str] = []
        used: list[Any] = []
        for column, operator in constraints:
            wanted = operator == _EQUAL if column in (_SERIES, _KEY) else column == _AT and operator in _BOUNDS
            if wanted:
                used.append((len(plan), False))  # SQLite checks again: a bound may be of another type
                plan.append(f"{column}{_BOUNDS[operator]}")
            else:
                used.append(None)
        bounds = sum(name.startswith(str(_AT)) for name in plan)
        cost = 1e12 if f"{_SERIES}=" not in plan else (1e3 if f"{_KEY}=" in plan else 1e8) / (1 + bounds)
        return used, 0, " ".join(plan), False, cost

    def Open(self) -> _Cursor:  # noqa: N802
        """A cursor."""
        return _Cursor(self._connection, self._shelf)

    def Disconnect(self) -> None:  # noqa: N802
        """Nothing is held."""


class _Cursor:
    def __init__(self, connection: apsw.Connection, shelf: Shelf) -> None:
        self._connection = connection
        self._shelf = shelf
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._row: tuple[Any, ...] | None = None
        self._at = 0

    def Filter(self, _number: int, plan: str, values: tuple[Any, ...]) -> None:  # noqa: N802
        """Start over with these bounds."""
        series, key, since, until = None, None, FIRST, END
        possible = True
        for name, value in zip(plan.split(), values, strict=True):
            column, operator = int(name[0]), name[1:]
            if column == _SERIES:
                series = value
            elif not isinstance(value, int):
                possible = possible and value is not None
            elif column == _KEY:
                possible = possible and key in (None, value)
                key = value
            else:
                since = max(since, value + (operator == ">")) if operator in "=>=" else since
                until = min(until, value + (operator != "<")) if operator in "=<=" else until
        possible = possible and since < until
        self._rows = self._read(series, key, since, until) if possible and isinstance(series, str) else iter(())
        self._at = 0
        self.Next()

    def Next(self) -> None:  # noqa: N802
        """Go on."""
        self._row = next(self._rows, None)
        self._at += 1

    def Eof(self) -> bool:  # noqa: N802
        """Whether the row before was the last."""
        return self._row is None

    def Column(self, at: int) -> Any:  # noqa: N802
        """A value of the row; -1 is its number."""
        assert self._row is not None  # noqa: S101 (SQLite asks Eof first)
        if at < 0:
            return self._at
        return self._row[at] if at < len(self._row) else None

    def Rowid(self) -> int:  # noqa: N802
        """The number of the row in this answer."""
        return self._at

    def Close(self) -> None:  # noqa: N802
        """Let go of the blocks."""
        self._rows = iter(())

    def _read(self, series: str, key: int | None, since: int, until: int) -> Iterator[tuple[Any, ...]]:
        from ghostwire.zqlite.series import window  # with numpy, which a store without series does not carry

        known: Known = self._shelf.find(self._connection, series)
        listed: Any = ((key,),)
        if key is None:
            listed = self._connection.execute(_KEYS, (known.id, known.id)).fetchall()
        for (each,) in listed:
            found = window.read(self._connection, self._shelf, known, each, since, until)
            columns = [values if isinstance(values, list) else values.tolist() for values in found.columns]
            for row in zip(found.at.tolist(), *columns, strict=True):
                yield (series, each, *row)
