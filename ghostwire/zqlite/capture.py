"""Row images, taken while SQLite changes rows: every INSERT, UPDATE and DELETE, also by triggers and foreign keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from ghostwire.zqlite import layout as layouts
from ghostwire.zqlite.changelog import DELETE, INSERT, UPDATE
from ghostwire.zqlite.layout import Layout, Schema, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Capture:
    """Collects the entries of one operation. `entries` is the operation's list; the writer empties it.

    `buffers` says that there are virtual tables, which may hold rows back until the next savepoint.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.entries: list[Any] = []
        self.buffers = False
        self._connection = connection
        self._keys: dict[str, tuple[int, tuple[int, ...] | None]] = {}
        self._computing: dict[str, Layout] = {}
        self._stale: dict[tuple[str, int], None] = {}
        self._held = [0]
        self._told = self._hook()
        connection.preupdate_hook(self._told)

    def watch(self, schema: Schema) -> None:
        """Use these tables from now on."""
        self._keys = {
            layout.name: (layout.id, layout.key) for layout in schema.values() if not (layout.module or layout.computes)
        }
        self.buffers = any(layout.module for layout in schema.values())
        self._computing = {layout.name: layout for layout in schema.values() if layout.computes}
        self._told = self._hook()
        self._connection.preupdate_hook(self._told)

    def pause(self) -> None:
        """Until `resume`, somebody else sees to what rows become."""
        self._connection.preupdate_hook(None)

    def resume(self) -> None:
        """Collect again."""
        self._connection.preupdate_hook(self._told)

    def begin(self) -> None:
        """Start the next operation's list."""
        self.entries.clear()
        self._stale.clear()
        self._held[0] = 0

    def hold(self) -> int:
        """How many entries there are; what follows, which may be taken back alone, leaves them as they are."""
        self._held[0] = len(self.entries)
        return self._held[0]

    def settle(self) -> None:
        """After a statement: read the touched rows of tables that SQLite's hook cannot report on (see `computes`).

        All go first and come back after, so that replay never meets a passing UNIQUE clash.
        """
        if not self._stale:
            return
        gone, back = [], []
        for name, rowid in self._stale:
            layout = self._computing[name]
            gone.append((layout.id, DELETE, rowid, None))
            back += [(layout.id, INSERT, key, values) for key, values in images(self._connection, layout, rowid)]
        self._stale.clear()
        self.entries += gone + back

    def _hook(self) -> Callable[[apsw.PreUpdate], None]:
        """The hook, with what it needs bound to local names: it runs once for each row."""
        known, computing, stale = self._keys, self._computing, self._stale
        entries, held = self.entries, self._held
        add = entries.append
        insert, update = apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE

        def hook(change: apsw.PreUpdate) -> None:
            table = known.get(change.table_name)
            if table is None:
                if change.table_name in computing:
                    stale[change.table_name, change.rowid] = None
                    stale[change.table_name, change.rowid_new] = None
                return
            number, key = table
            code = change.opcode
            if code == insert:
                new: Any = change.new
                add((number, INSERT, change.rowid if key is None else tuple([new[at] for at in key]), new))
            elif code == update:
                new = change.new
                was: Any
                now: Any
                if key is None:
                    was, now = change.rowid, change.rowid_new
                else:
                    old: Any = change.old
                    was, now = tuple([old[at] for at in key]), tuple([new[at] for at in key])
                if was != now:
                    add((number, UPDATE, was, new, now))
                elif len(entries) > held[0] and entries[-1][:3] == (number, INSERT, was):
                    entries[-1] = (number, INSERT, was, new)  # made a moment ago: one image tells of both
                else:
                    add((number, UPDATE, was, new))
            elif change.blob_write >= 0:
                return  # the applier, who writes it, knows what it writes
            else:
                old = change.old
                add((number, DELETE, change.rowid if key is None else tuple([old[at] for at in key]), None))

        return hook


def images(
    connection: apsw.Connection, layout: Layout, rowid: int | None = None
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Key and stored values of every row of a table, or of the row `rowid`."""
    names = ", ".join(quote(column.name) for column in layout.stored)
    cursor = connection.cursor()
    if layout.key is not None:
        for row in cursor.execute(f"SELECT {names} FROM main.{quote(layout.name)}"):  # noqa: S608
            yield tuple(row[at] for at in layout.key), row
        return
    alias = layouts.rowid(layout)
    only = "" if rowid is None else f" WHERE {alias} = ?"
    text = f"SELECT {alias}, {names} FROM main.{quote(layout.name)}{only}"  # noqa: S608
    for row in cursor.execute(text, () if rowid is None else (rowid,)):
        yield row[0], row[1:]
