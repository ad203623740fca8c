"""Rebuilds tables from the change log alone, in another database: for the past, for replicas, and to check the present.

Rows go where their images say. Triggers and foreign keys are off, for what they did is in the log; indexes, views,
triggers and virtual tables come last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from ghostwire.errors import DatabaseError
from ghostwire.zqlite import changelog, functions, layout
from ghostwire.zqlite.changelog import INSERT, PATCH, SCHEMA, UPDATE
from ghostwire.zqlite.layout import GENERATED, Layout, Object, Schema, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ghostwire.model.change import ChangeRecord

BUILD_ORDER = ("index", "view", "trigger")


class Replay:
    """A rebuild in progress. The connection is to a database that nobody else writes, empty unless it goes on.

    `prepare` gives it the SQL functions; without a store's own, sealed columns stay sealed.
    """

    def __init__(
        self, connection: apsw.Connection, prepare: Callable[[apsw.Connection], None] = functions.register
    ) -> None:
        self.connection = connection
        self.schema: Schema = {}
        self.objects: dict[tuple[str, str], Object] = {}
        self._sql: dict[tuple[int, int], str] = {}
        prepare(connection)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 0)
        connection.config(apsw.SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        connection.pragma("ignore_check_constraints", True)

    def extend(self, records: Iterable[ChangeRecord]) -> None:
        """Apply records in order, in one transaction."""
        with self.connection:
            for record in records:
                self.apply(record)

    def apply(self, record: ChangeRecord) -> None:
        """Apply one record. Raises DatabaseError that names it when it does not fit what is there."""
        _, entries = changelog.decode(record.body)
        try:
            for entry in entries:
                if entry[0] == SCHEMA:
                    self._define(entry)
                else:
                    self._row(entry)
        except (apsw.Error, KeyError, IndexError) as error:
            raise DatabaseError(f"row {record.seq} of the change log cannot be replayed: {error}") from error

    def finish(self) -> None:
        """Build what depends on tables."""
        enter_modules(self.connection, [table for table in self.schema.values() if table.module])
        for kind in BUILD_ORDER:
            for item in self.objects.values():
                if item.type == kind:
                    self._run(item.sql)
        self.connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)

    def _row(self, entry: list[Any]) -> None:
        table, act, key, values, *moved = entry
        now = self.schema[table]
        if act == PATCH:
            self._patch(now, key, *values)
            return
        text = self._sql.get((table, act)) or self._statement(now, act)
        kept = () if values is None else _writable(now, values)
        at = (key,) if now.key is None else tuple(key)
        new = moved[0] if moved else key
        if act == INSERT:
            self._run(text, (*((key,) if now.key is None else ()), *kept))
            return
        if act == UPDATE:
            self._run(text, (*((new,) if now.key is None else ()), *kept, *at))
        else:
            self._run(text, at)
        if self.connection.changes() != 1 and not now.computes:
            raise DatabaseError(f"table {now.name} has no row with key {key!r}")

    def _patch(self, now: Layout, key: int, position: int, offset: int, data: bytes) -> None:
        with self.connection.blob_open("main", now.name, now.stored[position].name, key, True) as blob:
            blob.seek(offset)
            blob.write(data)

    def _statement(self, now: Layout, act: int) -> str:
        target = quote(now.name)
        names = [quote(column.name) for column in now.stored if column.hidden != GENERATED]
        if now.key is None:
            where = f"{layout.rowid(now)} = ?"
            names.insert(0, layout.rowid(now))
        else:
            where = " AND ".join(f"{quote(now.columns[at].name)} IS ?" for at in now.key)
        if act == INSERT:
            text = f"INSERT INTO {target}({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        elif act == UPDATE:
            text = f"UPDATE {target} SET {', '.join(f'{name} = ?' for name in names)} WHERE {where}"  # noqa: S608
        else:
            text = f"DELETE FROM {target} WHERE {where}"  # noqa: S608
        self._sql[now.id, act] = text
        return text

    def _define(self, entry: list[Any]) -> None:
        what = entry[1]
        if what == "object":
            item = changelog.schema_object(entry)
            self.objects[item.type, item.name] = item
        elif what == "gone":
            self.objects.pop((entry[2], entry[3]), None)
        elif what == "drop":
            gone = self.schema[entry[2]]
            if not gone.module:
                self._run(f"DROP TABLE {quote(gone.name)}")
        else:
            self._table(entry)
        self.schema = changelog.apply_schema(self.schema, entry)
        self._sql.clear()

    def _table(self, entry: list[Any]) -> None:
        (now,) = changelog.apply_schema({}, entry).values()
        was = self.schema.get(now.id)
        if now.module:
            return
        if was is None:
            self._run(now.sql)
            return
        aside = f"zq_aside_{now.id}"
        self._run(f"ALTER TABLE {quote(was.name)} RENAME TO {quote(aside)}")
        self._run(now.sql)
        self._copy(was, now, aside, {int(at): value for at, value in entry[3].items()})
        self._run(f"DROP TABLE {quote(aside)}")

    def _copy(self, was: Layout, now: Layout, aside: str, fills: dict[int, Any]) -> None:
        """Carry the rows over into the table's new form, by the columns' ids."""
        old = {column.id: column.name for column in was.stored}
        names, sources, params = [], [], []
        if now.key is None:
            names.append(layout.rowid(now))
            sources.append(layout.rowid(was))
        for at, column in enumerate(now.stored):
            if column.hidden == GENERATED:
                continue
            names.append(quote(column.name))
            if column.id in old:
                sources.append(quote(old[column.id]))
            else:
                sources.append("?")
                params.append(fills.get(at))
        self._run(
            f"INSERT INTO {quote(now.name)}({', '.join(names)}) SELECT {', '.join(sources)} FROM {quote(aside)}",  # noqa: S608
            tuple(params),
        )
        if "AUTOINCREMENT" in now.sql.upper():
            high = self._run("SELECT seq FROM sqlite_sequence WHERE name = ?", (aside,))
            if high:
                self._run("DELETE FROM sqlite_sequence WHERE name = ?", (now.name,))
                self._run("INSERT INTO sqlite_sequence VALUES (?, ?)", (now.name, high[0][0]))

    def _run(self, text: str, params: tuple[Any, ...] = ()) -> list[Any]:
        return self.connection.execute(text, params).fetchall()


def enter_modules(connection: apsw.Connection, tables: Sequence[Layout]) -> None:
    """Make virtual tables of these definitions over the tables that hold their rows, which are there."""
    if not tables:
        return
    connection.pragma("writable_schema", 1)
    for table in tables:
        connection.execute(
            "INSERT INTO sqlite_schema(type, name, tbl_name, rootpage, sql) VALUES ('table', ?1, ?1, 0, ?2)",
            (table.name, table.sql),
        ).fetchall()
    connection.execute("PRAGMA writable_schema = RESET").fetchall()


def content(connection: apsw.Connection) -> dict[str, Any]:
    """Everything that the log promises to rebuild, in a form that compares: definitions and rows with their keys."""
    found = layout.scan(connection)
    state: dict[str, Any] = {f"{kind} {name}": item.sql for (kind, name), item in found.objects.items()}
    for name, (_, table) in found.tables.items():
        state[f"definition of {name}"] = table.sql
        if table.module:
            continue
        names = ", ".join(quote(column.name) for column in table.columns)
        key = "" if table.key is not None else f"{layout.rowid(table)}, "
        rows = connection.execute(f"SELECT {key}{names} FROM {quote(name)}").fetchall()  # noqa: S608
        state[f"rows of {name}"] = sorted(rows, key=repr)
    return state


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """The names of what is not the same in two `content`s."""
    return sorted(name for name in left.keys() | right.keys() if not _same(left.get(name), right.get(name)))


def _same(left: Any, right: Any) -> bool:
    """Equal with types: SQLite tells 1 from 1.0."""
    return repr(left) == repr(right)


def _writable(now: Layout, values: list[Any]) -> tuple[Any, ...]:
    return tuple(value for column, value in zip(now.stored, values, strict=True) if column.hidden != GENERATED)
