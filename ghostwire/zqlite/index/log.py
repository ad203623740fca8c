"""What an index reads through a connection: its table's rows, and from the change log what became of them since."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ghostwire.errors import NotFoundError
from ghostwire.zqlite import changelog, layout
from ghostwire.zqlite.changelog import DELETE, SCHEMA
from ghostwire.zqlite.index.definition import Definition, read
from ghostwire.zqlite.index.structure import GONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

    from ghostwire.zqlite.layout import Layout


@dataclass(frozen=True, slots=True)
class Target:
    """An index and where its values are: `table` is the layout as the log knows it, None where there is no log.

    `rowid` and `column` are names as the table has them.
    """

    definition: Definition
    rowid: str
    column: str
    table: Layout | None


def definitions(connection: apsw.Connection) -> dict[str, Definition]:
    """The indexes of the store's own kinds, by name in small letters."""
    listed: Any = connection.execute(
        "SELECT name, tbl_name, sql FROM main.sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    found = (read(*row) for row in listed)
    return {definition.name.lower(): definition for definition in found if definition is not None}


def target(connection: apsw.Connection, definition: Definition) -> Target:
    """Where the values of an index are."""
    for _, seen in layout.scan(connection).tables.values():
        if seen.name == definition.table:
            column = next(c.name for c in seen.columns if c.name.lower() == definition.column.lower())
            return Target(definition, layout.rowid(seen), column, _logged(connection, definition.table))
    raise NotFoundError(f"index {definition.name}: there is no table {definition.table}")


def moment(connection: apsw.Connection) -> int:
    """The newest row of the log that this connection's transaction sees."""
    newest: Any = connection.execute("SELECT max(seq) FROM main.change").get
    return newest or 0


def rows(connection: apsw.Connection, at: Target) -> Iterator[tuple[int, Any]]:
    """Row id and value of every row."""
    column, table = layout.quote(at.column), layout.quote(at.definition.table)
    found: Any = connection.cursor().execute(f"SELECT {at.rowid}, {column} FROM main.{table}")  # noqa: S608
    return found  # type: ignore[no-any-return]


def changes(connection: apsw.Connection, at: Target, since: int, until: int) -> dict[int, Any] | None:
    """What rows that were written after row `since` of the log hold at row `until`.

    None where the log cannot say: it starts later by now, or the table was altered meanwhile.
    """
    if at.table is None:
        return None
    bodies: Any = connection.execute(
        "SELECT body FROM main.change WHERE seq > ? AND seq <= ?", (since, until)
    ).fetchall()
    if len(bodies) != until - since:
        return None
    place = [column.name for column in at.table.stored].index(at.column)
    found: dict[int, Any] = {}
    for (body,) in bodies:
        for entry in changelog.decode(body)[1]:
            if entry[0] == at.table.id:
                _, act, key, values, *moved = entry
                if act == DELETE or moved:
                    found[key] = GONE
                if act != DELETE:
                    found[moved[0] if moved else key] = values[place]
            elif entry[0] == SCHEMA and _alters(entry, at.table):
                return None
    return found


def _logged(connection: apsw.Connection, name: str) -> Layout | None:
    if not connection.table_exists("main", "zq_layout"):
        return None
    tables: dict[int, Any] = {}
    listed: Any = connection.execute("SELECT table_id, layout FROM main.zq_layout ORDER BY since").fetchall()
    tables.update(listed)
    known = (layout.decode_layout(data) for data in tables.values() if data is not None)
    return next((table for table in known if table.name == name), None)


def _alters(entry: list[Any], table: Layout) -> bool:
    if entry[1] == "drop":
        return bool(entry[2] == table.id)
    return table.id in changelog.apply_schema({}, entry)
