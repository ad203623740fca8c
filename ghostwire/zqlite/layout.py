"""What the tables look like: stable ids for tables and columns, through renames and rebuilds, and their history.

The change log names tables by id and values by position, so a reader of old rows needs the layout of their time. Each
schema change is an entry of the log itself (`SchemaEntry`), and `Catalogue` is the fold of those entries.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import apsw

Schema = dict[int, "Layout"]

STORED: Final = 0
VIRTUAL: Final = 2
GENERATED: Final = 3

_LOGGED: Final = frozenset({"zq_migration", "zq_sealed", "zq_dictionary"})
"""The store's own tables whose rows are in the log: what is replayed cannot do without them."""


class Column(msgspec.Struct, frozen=True, array_like=True):
    """A column. `id` stays through renames; `hidden` is SQLite's: 0 plain, 2 virtual generated, 3 stored generated."""

    id: int
    name: str
    hidden: int = STORED


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """A table at one time. `key` holds the positions of the primary key, or is None where the row id is the key.

    `sql` is its definition; `module` is true of a virtual table, whose rows live in other tables. No column id is ever
    given twice: `next_column` is the next one.
    """

    id: int
    name: str
    columns: tuple[Column, ...]
    key: tuple[int, ...] | None
    sql: str
    module: bool = False
    next_column: int = 1

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns whose values a row image holds, in its order."""
        return tuple(column for column in self.columns if column.hidden != VIRTUAL)

    @property
    def computes(self) -> bool:
        """Whether it has virtual generated columns, which SQLite's hook cannot report."""
        return any(column.hidden == VIRTUAL for column in self.columns)


class Object(msgspec.Struct, frozen=True, array_like=True):
    """An index, view or trigger, by its definition."""

    type: str
    name: str
    table: str
    sql: str


class Catalogue:
    """Every layout that any kept row of the log was written under. Immutable: `extended` makes the next one."""

    __slots__ = ("_schemas", "_since", "next_id")

    def __init__(self, versions: Iterable[tuple[int, Mapping[int, Layout | None]]] = ()) -> None:
        """`versions`: for each schema change, its seq and what it made of the tables it touched, in order."""
        self._since: list[int] = [0]
        self._schemas: list[Schema] = [{}]
        self.next_id = 1
        for seq, changes in versions:
            self._append(seq, changes)

    @property
    def since(self) -> int:
        """The seq of the newest schema change, 0 before any."""
        return self._since[-1]

    @property
    def current(self) -> Schema:
        """The tables as they are now, by id."""
        return self._schemas[-1]

    def at(self, seq: int) -> Schema:
        """The tables as they were after the schema change `seq` (and until the next one)."""
        return self._schemas[bisect_right(self._since, seq) - 1]

    def find(self, name: str) -> Layout | None:
        """The current table of that name; SQL names ignore the case of ASCII letters."""
        folded = name.lower()
        return next((layout for layout in self.current.values() if layout.name.lower() == folded), None)

    def extended(self, seq: int, changes: Mapping[int, Layout | None]) -> Catalogue:
        """The catalogue with one more schema change; None drops a table."""
        wider = Catalogue()
        wider._since, wider._schemas, wider.next_id = list(self._since), list(self._schemas), self.next_id
        wider._append(seq, changes)
        return wider

    def _append(self, seq: int, changes: Mapping[int, Layout | None]) -> None:
        schema = dict(self.current)
        for table, layout in changes.items():
            self.next_id = max(self.next_id, table + 1)
            if layout is None:
                schema.pop(table, None)
            else:
                schema[table] = layout
        self._since.append(seq)
        self._schemas.append(schema)


class Found(msgspec.Struct, frozen=True):
    """A schema as SQLite shows it: tables by name with their root pages, other objects by type and name."""

    tables: dict[str, tuple[int, Layout]]
    objects: dict[tuple[str, str], Object]


def is_internal(name: str) -> bool:
    """Whether SQLite or the store itself keeps this table, outside the logged state."""
    folded = name.lower()
    return folded == "change" or (folded.startswith(("sqlite_", "zq_")) and folded not in _LOGGED)


def scan(connection: apsw.Connection) -> Found:
    """Read the schema. Table and column ids are 0 here; `match` gives them theirs."""
    listed: list[Any] = connection.execute("PRAGMA table_list").fetchall()
    kinds = {name: (kind, bool(without)) for _, name, kind, _, without, _ in listed if kind != "view"}
    tables: dict[str, tuple[int, Layout]] = {}
    objects: dict[tuple[str, str], Object] = {}
    rows: list[Any] = connection.execute(
        "SELECT type, name, tbl_name, rootpage, sql FROM main.sqlite_schema"
    ).fetchall()
    for kind, name, table, root, sql in rows:
        if is_internal(table) or is_internal(name):
            continue
        if kind != "table":
            objects[kind, name] = Object(kind, name, table, sql)
            continue
        columns: list[Any] = connection.execute(f"PRAGMA main.table_xinfo({quote(name)})").fetchall()
        without_rowid = kinds[name][1]
        primary = sorted((column[5], at) for at, column in enumerate(columns) if column[5])
        tables[name] = (
            root,
            Layout(
                0,
                name,
                tuple(Column(0, column[1], column[6]) for column in columns),
                tuple(at for _, at in primary) if without_rowid else None,
                sql,
                kinds[name][0] == "virtual",
            ),
        )
    return Found(tables, objects)


def match(layout: Layout, before: Layout | None, next_id: int) -> Layout:
    """`layout` with ids: those of `before` where it is the same table after one ALTER, else new ones."""
    if before is None:
        columns = tuple(Column(at + 1, column.name, column.hidden) for at, column in enumerate(layout.columns))
        return msgspec.structs.replace(layout, id=next_id, columns=columns, next_column=len(columns) + 1)
    old = {column.name: column for column in before.columns}
    renamed = len(before.columns) == len(layout.columns)
    free = before.next_column
    columns_now: list[Column] = []
    for at, column in enumerate(layout.columns):
        if column.name in old:
            known = old[column.name].id
        elif renamed:
            known = before.columns[at].id
        else:
            known, free = free, free + 1
        columns_now.append(Column(known, column.name, column.hidden))
    return msgspec.structs.replace(layout, id=before.id, columns=tuple(columns_now), next_column=free)


def check(layout: Layout) -> None:
    """Refuse what the log could not capture."""
    if layout.key is None:
        rowid(layout)
    elif layout.computes:
        raise ValidationError(
            f"table {layout.name}: virtual generated columns do not go with WITHOUT ROWID here; declare them STORED"
        )


def rowid(layout: Layout) -> str:
    """A name of the row id that no column of the table has taken."""
    taken = {column.name.lower() for column in layout.columns}
    for name in ("rowid", "_rowid_", "oid"):
        if name not in taken:
            return name
    raise ValidationError(f"table {layout.name}: columns named rowid, _rowid_ and oid together hide the row id")


def quote(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def encode(value: Any) -> bytes:
    """A layout or object as it is kept in the catalogue's table."""
    return msgspec.msgpack.encode(value)


def decode_layout(data: bytes) -> Layout:
    """The reverse of `encode`."""
    return msgspec.msgpack.decode(data, type=Layout)
