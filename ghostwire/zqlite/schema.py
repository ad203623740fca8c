"""Follows the schema: after each statement that defines something, what became of tables, indexes, views, triggers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ghostwire.errors import DatabaseError
from ghostwire.zqlite import layout as layouts
from ghostwire.zqlite.capture import images
from ghostwire.zqlite.changelog import INSERT, SCHEMA
from ghostwire.zqlite.index import definition
from ghostwire.zqlite.layout import Catalogue, Found, Layout, quote

if TYPE_CHECKING:
    import apsw

    from ghostwire.zqlite.capture import Capture


@dataclass(frozen=True, slots=True)
class Known:
    """What the schema is at one moment of an operation. `changed`: what the operation has made of tables so far."""

    catalogue: Catalogue
    found: Found
    changed: dict[int, Layout | None]
    next_id: int


class SchemaTracker:
    """Holds the schema that the log knows, and tells the difference that a statement made."""

    def __init__(self, connection: apsw.Connection, catalogue: Catalogue, capture: Capture) -> None:
        self._connection = connection
        self._capture = capture
        seen = layouts.scan(connection)
        by_name = {known.name: known for known in catalogue.current.values()}
        tables: dict[str, tuple[int, Layout]] = {}
        for name, (root, bare) in seen.tables.items():
            known = by_name.get(name)
            if known is None or [c.name for c in known.columns] != [c.name for c in bare.columns]:
                raise DatabaseError(f"the log knows no table {name} like this one: the file was changed by other means")
            tables[name] = (root, known)
        self.known = Known(catalogue, Found(tables, seen.objects), {}, catalogue.next_id)
        capture.watch(catalogue.current)

    def adopt(self, catalogue: Catalogue) -> None:
        """Take a catalogue over whose tables are there already."""
        self.known = replace(self.known, catalogue=catalogue)

    def restore(self, known: Known) -> None:
        """Return to an earlier moment, after what came later was rolled back."""
        if known is not self.known:
            self.known = known
            self._watch()

    def observe(self) -> list[Any]:
        """The log entries for what the statement just run has changed, with the rows of tables it made and filled."""
        known = self.known
        seen = layouts.scan(self._connection)
        before = known.found.tables
        gone = {name: root for name, (root, _) in before.items() if name not in seen.tables}
        by_root = {root: name for name, root in gone.items() if root}
        changed, next_id = dict(known.changed), known.next_id
        tables: dict[str, tuple[int, Layout]] = {}
        entries: list[Any] = []
        for name, (root, bare) in seen.tables.items():
            was = before.get(name)
            if was is None and root in by_root:
                was = before[by_root[root]]
                del gone[by_root[root]]
            now = layouts.match(bare, was[1] if was else None, next_id)
            layouts.check(now)
            tables[name] = (root, now)
            if was is not None and now == was[1]:
                continue
            changed[now.id] = now
            next_id = max(next_id, now.id + 1)
            entries.append((SCHEMA, "table", now, self._fills(was[1], now) if was else {}))
            if was is None and not now.module:
                entries += [(now.id, INSERT, key, values) for key, values in images(self._connection, now)]
        dropped = [before[name][1].id for name in gone]
        changed.update(dict.fromkeys(dropped))
        entries[:0] = [(SCHEMA, "drop", number) for number in dropped]
        objects = _object_changes(known.found, seen)
        for item in objects:
            if item[1] == "object" and item[2].table in tables:
                definition.check(item[2], tables[item[2].table][1])
        entries += objects
        self.known = Known(known.catalogue, Found(tables, seen.objects), changed, next_id)
        self._watch()
        return entries

    def define(self, seq: int) -> list[tuple[int, int, bytes | None]]:
        """The operation is row `seq` of the log: its rows for the catalogue's table."""
        known = self.known
        rows = [(seq, table, None if now is None else layouts.encode(now)) for table, now in known.changed.items()]
        catalogue = known.catalogue.extended(seq, known.changed)
        self.known = Known(catalogue, known.found, {}, catalogue.next_id)
        return rows

    def _watch(self) -> None:
        self._capture.watch({now.id: now for _, now in self.known.found.tables.values()})

    def _fills(self, was: Layout, now: Layout) -> dict[int, Any]:
        """The values that existing rows got in added columns: the same in every row, for SQLite adds constants only."""
        old = {column.id for column in was.stored}
        added = {at: column for at, column in enumerate(now.stored) if column.id not in old}
        if not added:
            return {}
        names = ", ".join(quote(column.name) for column in added.values())
        rows = self._connection.execute(f"SELECT {names} FROM main.{quote(now.name)} LIMIT 1").fetchall()  # noqa: S608
        return dict(zip(added, rows[0], strict=True)) if rows else {}


def _object_changes(before: Found, now: Found) -> list[Any]:
    gone: list[Any] = [(SCHEMA, "gone", *key) for key in before.objects if key not in now.objects]
    made = [(SCHEMA, "object", item) for key, item in now.objects.items() if before.objects.get(key) != item]
    return gone + made
