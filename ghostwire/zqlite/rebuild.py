"""A table given another form while it is read and written: a copy in that form, kept up by the change log, swapped in.

The copy is an ordinary table, filled in batches that are operations among those of others. What was written meanwhile
is then copied again, row by row as the log names them, until so little is left that the last of it, the drop of the
old table and the renaming fit into one transaction. The store's own table keeps how far that has come, in the same
transactions, so that after a crash `run` goes on where it was.
"""

# Every name in the statements that are built here is quoted.
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import apsw
import msgspec

from ghostwire._native import token
from ghostwire.errors import ConflictError, NotFoundError, ValidationError
from ghostwire.zqlite import changelog, layout, sql
from ghostwire.zqlite.changelog import SCHEMA
from ghostwire.zqlite.columns import blank
from ghostwire.zqlite.layout import GENERATED, Layout, quote
from ghostwire.zqlite.operation import Script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.store import Store

KIND: Final = "zqlite.rebuild"
SUFFIX: Final = "_rebuild"
BATCH_SECONDS: Final = 0.02
"""What a batch may take, and so for how long it holds other writers up."""
LEAST_ROWS: Final = 16
MOST_ROWS: Final = 8192
FOLLOWED_BYTES: Final = 256 * 1024
"""So much of the log is followed in one batch, a whole row of it at least."""

_NAME: Final = r'(?:"(?:[^"]|"")+"|\w+)'
_TABLE_HEAD = re.compile(rf"\s*CREATE\s+TABLE\s+({_NAME})\s*\(", re.IGNORECASE)
_INDEX_HEAD = re.compile(rf"(CREATE\s+(?:UNIQUE\s+)?INDEX\s+)({_NAME})(\s+ON\s+)({_NAME})", re.IGNORECASE)
_REFERS = re.compile(r"\b(REFERENCES|FOREIGN)\b", re.IGNORECASE)
_META: Final = "rebuild:"
_SET: Final = "INSERT OR REPLACE INTO main.zq_meta VALUES (?, ?)"

Key = int | tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A table's new form. `sql` is its CREATE TABLE, under the name it has.

    `values` gives columns an SQL expression over the old ones; any other takes the old column of its name, or its
    DEFAULT. The key stays: row ids, or the primary key's columns of a table WITHOUT ROWID. A foreign key of its own is
    not possible, other tables may refer to it.
    """

    table: str
    sql: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def shadow(self) -> str:
        """The copy's name."""
        return self.table + SUFFIX

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the whole: another form starts anew."""
        return token.blake3(msgspec.msgpack.encode((self.table, self.sql, sorted(self.values.items()))))


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a rebuild has come: the last key copied, and the row of the log up to which the copy follows."""

    digest: bytes
    seq: int
    position: Any = None
    copied: bool = False


async def run(db: Store, form: Rebuild) -> None:
    """Give a table its new form, while reads and writes go on. Once more after a crash, it goes on where it was.

    Raises ValidationError for a form that is not possible, ConflictError where the rows do not fit it or the table was
    altered meanwhile, NotFoundError where there is no such table; the table is then as it was.
    """
    progress = await db.work(lambda applier: _start(applier, form))
    try:
        count = LEAST_ROWS
        while not progress.copied:
            progress, seconds = await db.work(lambda applier: _copy(applier, form, progress, count))  # noqa: B023
            count = min(count * 2, MOST_ROWS) if seconds < BATCH_SECONDS / 2 else count
            count = max(count // 2, LEAST_ROWS) if seconds > BATCH_SECONDS else count
        near = False
        while not near:
            progress, near = await db.work(lambda applier: _follow(applier, form, progress))  # noqa: B023
        await db.work(lambda applier: _swap(applier, form, progress))
    except (ConflictError, ValidationError):
        await db.work(lambda applier: _abandon(applier, form))
        raise


def _start(applier: Applier, form: Rebuild) -> Progress:
    connection = applier.connection
    known = _progress(applier, form)
    if known is not None and known.digest == form.digest and connection.table_exists("main", form.shadow):
        return known
    with applier.alone(KIND), _explained(applier):
        old = _old(applier, form)
        if connection.table_exists("main", form.shadow):
            if known is None:
                raise ConflictError(f"there is a table {form.shadow}, which is the name that the copy needs")
            applier.run(Script(f"DROP TABLE {quote(form.shadow)}"))
        applier.run(Script(_renamed(form)))
        _check(connection, form, old)
        for name, text in _indexes(connection, old.name):
            applier.run(Script(_index(text, name + SUFFIX, form.shadow)))
        fresh = Progress(form.digest, applier.head.seq)
        _keep(applier, form, fresh)
    return fresh


def _copy(applier: Applier, form: Rebuild, progress: Progress, count: int) -> tuple[Progress, float]:
    """The next rows in the order of their keys, and the seconds that took."""
    started = time.perf_counter()
    with applier.alone(KIND), _explained(applier):
        way = _Way(applier, form)
        last = way.ahead(progress.position, count)
        if last is not None:
            way.insert_between(progress.position, last)
        now = msgspec.structs.replace(progress, position=last or progress.position, copied=last is None)
        _keep(applier, form, now)
    return now, time.perf_counter() - started


def _follow(applier: Applier, form: Rebuild, progress: Progress) -> tuple[Progress, bool]:
    """Copy again what the next operations of the log have written; whether that was the last of it."""
    with applier.alone(KIND), _explained(applier):
        way = _Way(applier, form)
        keys, until = _touched(applier, way.old, progress.seq, FOLLOWED_BYTES)
        way.insert_again(keys)
        now = msgspec.structs.replace(progress, seq=until)
        _keep(applier, form, now)
        near = until == applier.head.seq
    return now, near


def _swap(applier: Applier, form: Rebuild, progress: Progress) -> None:
    """What is left, and the copy in the table's place."""
    with _unreferenced(applier.connection), applier.alone(KIND), _explained(applier):
        way = _Way(applier, form)
        old = way.old
        way.insert_again(_touched(applier, old, progress.seq, None)[0])
        if way.count(old.name) != way.count(form.shadow):
            raise ConflictError(f"table {old.name}: rows that its new form takes for the same would be lost")
        triggers = _listed(applier.connection, "trigger", old.name)
        indexes = _indexes(applier.connection, old.name)
        _carry_counter(applier, old.name, form.shadow)
        applier.run(Script(f"DROP TABLE {quote(old.name)}"))
        _name_indexes(applier, form, indexes)
        applier.run(Script(f"ALTER TABLE {quote(form.shadow)} RENAME TO {quote(old.name)}"))
        for _, text in triggers:
            applier.run(Script(text))
        _check_references(applier.connection, old.name)
        applier.own("DELETE FROM main.zq_meta WHERE key = ?", (_META + form.table,))


def _abandon(applier: Applier, form: Rebuild) -> None:
    """The copy is of no use: the table stays as it is."""
    with applier.alone(KIND):
        if _progress(applier, form) is not None:
            applier.run(Script(f"DROP TABLE IF EXISTS {quote(form.shadow)}"))
            applier.own("DELETE FROM main.zq_meta WHERE key = ?", (_META + form.table,))


class _Way:
    """The statements that bring rows from the old table into the copy."""

    def __init__(self, applier: Applier, form: Rebuild) -> None:
        self._applier = applier
        self.old = _old(applier, form)
        found = layout.scan(applier.connection).tables.get(form.shadow)
        if found is None:
            raise ConflictError(f"table {form.table}: its rebuild was ended by someone else")
        new = found[1]
        self._source, self._target = quote(self.old.name), quote(form.shadow)
        pairs = _pairs(applier.connection, form, self.old, new)
        self._into = ", ".join(name for name, _ in pairs)
        self._from = ", ".join(source for _, source in pairs)
        self._key = _key(self.old)
        self._new_key = _key(new)

    def ahead(self, position: Any, count: int) -> list[Any] | None:
        """The key `count` rows on, the last one's where there are fewer; None where none is left."""
        where, params = self._between(position, None)
        keys = ", ".join(self._key)
        backwards = ", ".join(f"{name} DESC" for name in self._key)
        found = self._read(
            f"SELECT {keys} FROM {self._source}{where} ORDER BY {keys} LIMIT 1 OFFSET ?", (*params, count - 1)
        ) or self._read(
            f"SELECT {keys} FROM {self._source}{where} ORDER BY {backwards} LIMIT 1",
            params,
        )
        return list(found[0]) if found else None

    def insert_between(self, first: Any, last: Any) -> None:
        """Copy the rows behind `first` up to `last`."""
        where, params = self._between(first, last)
        self._write(
            f"INSERT OR REPLACE INTO {self._target}({self._into}) SELECT {self._from} FROM {self._source}{where}",
            params,
        )

    def insert_again(self, keys: Sequence[tuple[Any, ...]]) -> None:
        """Copy the rows of these keys as they are now; those that are gone go."""
        if not keys:
            return
        self._many(f"DELETE FROM {self._target} WHERE {_equals(self._new_key)}", keys)
        text = f"INSERT OR REPLACE INTO {self._target}({self._into}) SELECT {self._from} FROM {self._source}"
        self._many(f"{text} WHERE {_equals(self._key)}", keys)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        found: int = self._read(f"SELECT count(*) FROM {quote(table)}", ())[0][0]
        return found

    def _between(self, first: Any, last: Any) -> tuple[str, tuple[Any, ...]]:
        key, marks = f"({', '.join(self._key)})", f"({', '.join('?' * len(self._key))})"
        bounds = [(f"{key} > {marks}", first), (f"{key} <= {marks}", last)]
        given = [(text, value) for text, value in bounds if value is not None]
        where = f" WHERE {' AND '.join(text for text, _ in given)}" if given else ""
        return where, tuple(part for _, value in given for part in value)

    def _read(self, text: str, params: tuple[Any, ...]) -> list[Any]:
        return self._applier.connection.execute(text, params).fetchall()

    def _write(self, text: str, params: tuple[Any, ...]) -> None:
        self._applier.run(Script(text, params))

    def _many(self, text: str, keys: Sequence[tuple[Any, ...]]) -> None:
        self._applier.run(Script(text, (), keys))


def _touched(applier: Applier, old: Layout, since: int, most: int | None) -> tuple[list[tuple[Any, ...]], int]:
    """The keys of the rows that were written after row `since` of the log, and the row up to which that is.

    It ends behind `most` bytes of the log, or at its end. Raises ConflictError where the log does not reach so far
    back, or the table was altered meanwhile.
    """
    keys: dict[tuple[Any, ...], None] = {}
    size, until = 0, since
    text = "SELECT seq, body FROM main.change WHERE seq > ? ORDER BY seq"
    with contextlib.closing(applier.connection.cursor()) as rows:
        for found in rows.execute(text, (since,)):
            seq, body = cast("tuple[int, bytes]", found)
            if seq != until + 1:
                raise ConflictError(f"table {old.name}: the log was dropped beyond where its rebuild is: start again")
            size, until = size + len(body), seq
            for entry in changelog.decode(body)[1]:
                if entry[0] == SCHEMA:
                    if old.id in (entry[2] if entry[1] == "drop" else 0, *changelog.apply_schema({}, entry)):
                        raise ConflictError(f"table {old.name} was altered while it was rebuilt: start again")
                elif entry[0] == old.id:
                    for key in (entry[2], *entry[4:]):
                        keys[tuple(key) if isinstance(key, list) else (key,)] = None
            if most is not None and size > most:
                break
    return list(keys), until


def _pairs(connection: apsw.Connection, form: Rebuild, old: Layout, new: Layout) -> list[tuple[str, str]]:
    """Each column of the copy that is filled, beside what fills it."""
    there = {column.name.lower(): quote(column.name) for column in old.columns}
    values = {name.lower(): source for name, source in form.values.items()}
    alias = _row_id_column(connection, new)
    pairs = [(layout.rowid(new), layout.rowid(old))] if new.key is None else []
    for column in new.stored:
        name = column.name.lower()
        source = values.get(name) or there.get(name)
        if source is not None and column.hidden != GENERATED and name != alias:
            pairs.append((quote(column.name), source))
    return pairs


def _check(connection: apsw.Connection, form: Rebuild, old: Layout) -> None:
    """Refuse a form whose rows could not be told by the old keys."""
    found = layout.scan(connection).tables.get(form.shadow)
    if found is None or found[1].module:
        raise ValidationError(f"table {form.table}: a table with sealed columns or of a module cannot be rebuilt")
    new = found[1]
    fixed = set() if new.key is None else {new.columns[at].name.lower() for at in new.key}
    kept = set() if old.key is None else {old.columns[at].name.lower() for at in old.key}
    alias = _row_id_column(connection, new)
    if (
        (new.key is None) != (old.key is None)
        or fixed != kept
        or {*fixed, alias} & {name.lower() for name in form.values}
    ):
        raise ValidationError(f"table {form.table}: its key cannot be changed by a rebuild")
    unknown = {name.lower() for name in form.values} - {column.name.lower() for column in new.stored}
    if unknown:
        raise ValidationError(f"table {form.table}: its new form has no column {', '.join(sorted(unknown))}")


def _row_id_column(connection: apsw.Connection, table: Layout) -> str | None:
    """The INTEGER PRIMARY KEY, which is the row id by another name."""
    columns: Any = connection.execute(f"PRAGMA main.table_xinfo({quote(table.name)})").fetchall()
    primary = [(name, kind) for _, name, kind, _, _, at, _ in columns if at]
    return primary[0][0].lower() if len(primary) == 1 and primary[0][1].upper() == "INTEGER" else None


def _old(applier: Applier, form: Rebuild) -> Layout:
    found = applier.catalogue.find(form.table)
    if found is None:
        raise NotFoundError(f"there is no table {form.table} to rebuild")
    return found


def _renamed(form: Rebuild) -> str:
    """The statement that makes the copy."""
    masked = blank(form.sql)
    head = _TABLE_HEAD.match(masked)
    name = form.sql[head.start(1) : head.end(1)].strip('"') if head else ""
    if head is None or name.lower() != form.table.lower() or len(sql.parts(form.sql)) != 1:
        raise ValidationError(f"the new form of {form.table} is one CREATE TABLE {form.table}(...)")
    if _REFERS.search(masked):
        raise ValidationError(f"table {form.table}: a table with foreign keys of its own cannot be rebuilt")
    return f"{form.sql[: head.start(1)]}{quote(form.shadow)}{form.sql[head.end(1) :]}"


def _index(text: str, name: str, table: str) -> str:
    """An index's definition under another name, on another table."""
    return _INDEX_HEAD.sub(lambda found: f"{found[1]}{quote(name)}{found[3]}{quote(table)}", text, count=1)


def _indexes(connection: apsw.Connection, table: str) -> list[tuple[str, str]]:
    return _listed(connection, "index", table)


def _listed(connection: apsw.Connection, kind: str, table: str) -> list[tuple[str, str]]:
    found: Any = connection.execute(
        "SELECT name, sql FROM main.sqlite_schema WHERE type = ? AND tbl_name = ? AND sql IS NOT NULL", (kind, table)
    ).fetchall()
    return list(found)


def _name_indexes(applier: Applier, form: Rebuild, indexes: list[tuple[str, str]]) -> None:
    """Give the copy's indexes the names of the old ones: SQLite knows no statement for it, building them takes long."""
    if not indexes:
        return
    applier.own("PRAGMA writable_schema = ON")
    for name, text in indexes:
        applier.own(
            "UPDATE main.sqlite_schema SET name = ?, sql = ? WHERE type = 'index' AND name = ?",
            (name, _index(text, name, form.shadow), name + SUFFIX),
        )
    applier.own("PRAGMA writable_schema = RESET")


def _check_references(connection: apsw.Connection, table: str) -> None:
    """Refuse a form that rows of other tables would refer to in vain."""
    for other in layout.scan(connection).tables:
        refers: Any = connection.execute(f"PRAGMA main.foreign_key_list({quote(other)})").fetchall()
        if any(row[2].lower() == table.lower() for row in refers):
            broken = connection.execute(f"PRAGMA main.foreign_key_check({quote(other)})").fetchall()
            if broken:
                raise ConflictError(f"table {table}: {len(broken)} rows of {other} would refer to none in its new form")


def _carry_counter(applier: Applier, old: str, shadow: str) -> None:
    """AUTOINCREMENT never gives a row id twice, also not those of rows that are gone."""
    if applier.connection.table_exists("main", "sqlite_sequence"):
        high = applier.own("SELECT seq FROM main.sqlite_sequence WHERE name = ?", (old,)).get
        applier.own("UPDATE main.sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (high or 0, shadow))


def _progress(applier: Applier, form: Rebuild) -> Progress | None:
    kept: Any = applier.own("SELECT value FROM main.zq_meta WHERE key = ?", (_META + form.table,)).get
    return None if kept is None else msgspec.msgpack.decode(kept, type=Progress)


def _keep(applier: Applier, form: Rebuild, progress: Progress) -> None:
    applier.own(_SET, (_META + form.table, msgspec.msgpack.encode(progress)))


def _key(table: Layout) -> list[str]:
    if table.key is None:
        return [layout.rowid(table)]
    return [quote(table.columns[at].name) for at in table.key]


def _equals(names: list[str]) -> str:
    return " AND ".join(f"{name} IS ?" for name in names)


@contextlib.contextmanager
def _explained(applier: Applier) -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise applier.explain(error) from error


@contextlib.contextmanager
def _unreferenced(connection: apsw.Connection) -> Iterator[None]:
    """Let a table that others refer to be dropped and come back; what they say is looked at before the end."""
    settings = (
        apsw.SQLITE_DBCONFIG_ENABLE_FKEY,
        apsw.SQLITE_DBCONFIG_LEGACY_ALTER_TABLE,
        apsw.SQLITE_DBCONFIG_DEFENSIVE,
    )
    for setting, value in zip(settings, (0, 1, 0), strict=True):
        connection.config(setting, value)
    try:
        yield
    finally:
        for setting, value in zip(settings, (1, 0, 1), strict=True):
            connection.config(setting, value)
