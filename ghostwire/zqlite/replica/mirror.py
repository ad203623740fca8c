"""A replica's tables, kept like the primary's from its log, in a file that is read meanwhile.

All methods run on the writer's thread. What they are handed becomes one transaction, the log's rows and the tables.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec

from ghostwire.errors import DatabaseError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import bootstrap, changelog, layout, sealing, signing, snapshot
from ghostwire.zqlite.applier import Applier
from ghostwire.zqlite.changelog import SCHEMA, Head
from ghostwire.zqlite.engine import Location
from ghostwire.zqlite.layout import Layout, Object, quote
from ghostwire.zqlite.replay import BUILD_ORDER, Replay, enter_modules
from ghostwire.zqlite.replica.frames import Rows, Start
from ghostwire.zqlite.signing import Signer
from ghostwire.zqlite.snapshot import Snapshot


class LiveReplay(Replay):
    """A replay whose indexes, views and triggers stand at every row, for the tables are read meanwhile."""

    def __init__(self, applier: Applier, prepare: Callable[[apsw.Connection], None]) -> None:
        super().__init__(applier.connection, prepare)
        self.schema = dict(applier.catalogue.current)
        self.objects = dict(layout.scan(applier.connection).objects)

    def apply(self, record: ChangeRecord) -> None:
        """Apply one record; what it defines stands before the rows that come after it."""
        _, entries = changelog.decode(record.body)
        try:
            self._drop_modules(entries)
            unsettled = False
            for entry in entries:
                if entry[0] == SCHEMA:
                    self._define(entry)
                    unsettled = True
                    continue
                if unsettled:
                    self._settle()
                    unsettled = False
                self._row(entry)
            if any(entry[0] == SCHEMA for entry in entries):
                self._make_modules()
                self._settle()
        except (apsw.Error, KeyError, IndexError) as error:
            raise DatabaseError(f"row {record.seq} of the change log cannot be replayed: {error}") from error

    def _drop_modules(self, entries: list[Any]) -> None:
        """Take back the virtual tables that are dropped or altered, before the tables that hold their rows go."""
        changing = {entry[2] if entry[1] == "drop" else entry[2][0] for entry in entries if _is_table(entry)}
        gone = [table.name for table in self.schema.values() if table.module and table.id in changing]
        if not gone:
            return
        self.connection.pragma("writable_schema", 1)
        for name in gone:
            self._run("DELETE FROM sqlite_schema WHERE type = 'table' AND name = ? AND rootpage = 0", (name,))
        self.connection.execute("PRAGMA writable_schema = RESET").fetchall()

    def _make_modules(self) -> None:
        """Make the virtual tables that are missing, now that the tables below them hold their rows."""
        names = {name for (name,) in self._run("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage = 0")}
        modules = [table for table in self.schema.values() if table.module and table.name not in names]
        enter_modules(self.connection, modules)

    def _settle(self) -> None:
        """Drop indexes, views and triggers that are no longer defined, make those that are not there."""
        standing = layout.scan(self.connection).objects
        for kind in reversed(BUILD_ORDER):
            for key, item in standing.items():
                if item.type == kind and self.objects.get(key) != item:
                    self._run(f"DROP {kind.upper()} {quote(item.name)}")
        for item in self._missing(standing):
            self._run(item.sql)

    def _missing(self, standing: dict[tuple[str, str], Object]) -> Iterator[Object]:
        for kind in BUILD_ORDER:
            for key, item in self.objects.items():
                if item.type == kind and standing.get(key) != item:
                    yield item


class Mirror:
    """Applies what a primary sends to the store that `applier` writes."""

    def __init__(self, applier: Applier, location: Location, prepare: Callable[[apsw.Connection], None]) -> None:
        self._applier = applier
        self._location = location
        # Nothing but the primary's rows is ever written here: there is nothing to capture and nobody to guard against.
        applier.connection.preupdate_hook(None)
        applier.connection.authorizer = None
        self._replay = LiveReplay(applier, prepare)

    def seed(self, start: Start, parts: list[bytes]) -> None:
        """Begin from a snapshot, in a store that holds nothing yet."""
        head = Head(start.seq, start.ts, start.hash)
        connection = self._applier.connection
        shot = Snapshot(head, tuple(parts))
        with self._whole():
            for number, part in enumerate(parts):
                row = (head.seq, number, head.ts, head.hash, part)
                connection.execute("INSERT INTO zq_snapshot VALUES (?, ?, ?, ?, ?)", row).fetchall()
            connection.executemany("INSERT INTO zq_layout VALUES (?, ?, ?)", list(start.layouts)).fetchall()
            for body in snapshot.unpack(shot):
                self._replay.apply(ChangeRecord(head.seq, 0, head.ts, "", "", body, b"", b""))
        versions: dict[int, dict[int, Layout | None]] = {}
        for since, table, data in start.layouts:
            versions.setdefault(since, {})[table] = None if data is None else layout.decode_layout(data)
        self._applier.adopt(head, layout.Catalogue(versions.items()))

    def follow(self, start: Start, standing: dict[str, str]) -> None:
        """Take over the epoch and the settings that the primary is in; `standing` are this copy's own."""
        self._applier.epoch = start.epoch
        with self._whole():
            self._settings({**start.meta, **standing})

    def apply(self, rows: Rows) -> int:
        """Apply a page; the number of its last row.

        Raises DatabaseError, with nothing of it applied, where it does not follow from what is here.
        """
        applier = self._applier
        head, catalogue = applier.head, applier.catalogue
        records = (ChangeRecord(*each) for each in rows.records)
        signatures = dict(rows.groups)
        with self._whole():
            if rows.meta is not None:
                self._settings(rows.meta)
            for record in changelog.verify(records, head.hash, head.seq):
                before = self._replay.schema
                self._replay.apply(record)
                changed = _difference(before, self._replay.schema)
                if changed:
                    catalogue = catalogue.extended(record.seq, changed)
                self._enter(record, changed, signatures.get(record.seq))
                head = Head(record.seq, record.ts, record.hash)
        applier.adopt(head, catalogue)
        return head.seq

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """One transaction: where it fails, nothing of it is in the file, and the replay stands where the file does."""
        try:
            with self._applier.connection:
                yield
        except BaseException:
            self._replay = LiveReplay(self._applier, lambda connection: None)
            raise

    def _enter(self, record: ChangeRecord, changed: dict[int, Layout | None], signature: bytes | None) -> None:
        connection = self._applier.connection
        row = msgspec.structs.astuple(record)
        connection.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row).fetchall()
        for table, now in changed.items():
            data = None if now is None else layout.encode(now)
            connection.execute("INSERT INTO zq_layout VALUES (?, ?, ?)", (record.seq, table, data)).fetchall()
        if signature is not None:
            self._applier.signer.check(signature, record.epoch, record.seq, record.hash)
            connection.execute("INSERT INTO zq_group VALUES (?, ?)", (record.seq, signature)).fetchall()

    def _settings(self, meta: dict[str, Any]) -> None:
        """The primary's settings, its secrets closed under the keys of this file."""
        if sealing.META in meta:
            self._applier.sealer.ring.adopt(meta[sealing.META])
        if signing.META in meta:
            self._applier.signer = Signer(meta["id"], meta[signing.META], meta.get(signing.FORMER))
        closed = bootstrap.wrap(meta, self._location)
        connection = self._applier.connection
        connection.executemany("INSERT OR REPLACE INTO zq_meta VALUES (?, ?)", list(closed.items())).fetchall()


def _is_table(entry: list[Any]) -> bool:
    return bool(entry[0] == SCHEMA and entry[1] in ("drop", "table"))


def _difference(before: layout.Schema, after: layout.Schema) -> dict[int, Layout | None]:
    if before is after:
        return {}
    changed: dict[int, Layout | None] = dict.fromkeys(before.keys() - after.keys())
    changed |= {table: now for table, now in after.items() if before.get(table) != now}
    return changed
