"""Snapshots: all rows at one moment, kept in the store, so that the log before it may be dropped.

Its parts are in order: rows of one table as column blocks (`rowblocks`), and what else there is, definitions and small
tables, in the form of change rows' bodies, packed with zstd. The log itself holds, as an event, the BLAKE3 hash over
the parts, so that the chain vouches for the snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

import zstandard

from ghostwire._native import token
from ghostwire.errors import DatabaseError, NotFoundError
from ghostwire.zqlite import changelog, layout, rowblocks
from ghostwire.zqlite.capture import images
from ghostwire.zqlite.changelog import INSERT, SCHEMA, Head

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.layout import Catalogue
    from ghostwire.zqlite.reader import Reader

KIND: Final = "zqlite.snapshot"
_ENTRIES: Final = 4096
_MOST_BYTES: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows behind row `head.seq` of the log, in packed parts."""

    head: Head
    parts: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """What the log's event says of it."""
        return token.blake3(b"".join(token.blake3(part) for part in self.parts))


def take(reader: Reader, catalogue: Catalogue) -> Snapshot:
    """Read everything, as it is at the reader's moment."""
    head = newest(reader.connection)
    entries = _entries(reader.connection, catalogue.at(head.seq))
    return Snapshot(head, tuple(_packed(entries)))


def keep(applier: Applier, snapshot: Snapshot) -> None:
    """Store a snapshot, and its hash in the log; one that is there already stands. Called between commits."""
    if applier.own("SELECT 1 FROM main.zq_snapshot WHERE seq = ?", (snapshot.head.seq,)).fetchall():
        return
    mark = applier.mark()
    try:
        applier.own("BEGIN IMMEDIATE")
        head = snapshot.head
        for number, part in enumerate(snapshot.parts):
            applier.own(
                "INSERT INTO main.zq_snapshot VALUES (?, ?, ?, ?, ?)", (head.seq, number, head.ts, head.hash, part)
            )
        told = {"seq": head.seq, "hash": head.hash, "digest": snapshot.digest}
        applier.append(KIND, "", changelog.event_body("", told))
        applier.commit()
    except BaseException:
        if applier.connection.in_transaction:
            applier.own("ROLLBACK")
        applier.restore(mark)
        raise


def drop_log(applier: Applier, before: int) -> int:
    """Drop the log up to the newest snapshot that is not behind row `before`, and older snapshots; how many rows went.

    Raises NotFoundError when there is no such snapshot.
    """
    rows: Any = applier.own("SELECT max(seq) FROM main.zq_snapshot WHERE seq <= ?", (before,)).fetchall()
    at = rows[0][0]
    if at is None:
        raise NotFoundError(f"there is no snapshot up to {before}: take one first, the log before it may go then")
    with applier.unlogged():
        applier.own("DELETE FROM main.zq_snapshot WHERE seq < ?", (at,))
        applier.own("DELETE FROM main.change WHERE seq <= ?", (at,))
        gone: int = applier.connection.changes()
        archived: Any = applier.own("DELETE FROM main.zq_archive WHERE last <= ? RETURNING last - first + 1", (at,))
        gone += sum(count for (count,) in archived.fetchall())
        applier.own("DELETE FROM main.zq_group WHERE seq <= ?", (at,))
    return gone


def newest(connection: apsw.Connection) -> Head:
    """The head of the log."""
    rows: Any = connection.execute("SELECT seq, ts, hash FROM change ORDER BY seq DESC LIMIT 1").fetchall()
    return Head(*rows[0]) if rows else Head(0, 0, changelog.GENESIS)


def find(connection: apsw.Connection, upto: int | None = None) -> Snapshot | None:
    """The newest snapshot whose moment is not after `upto` (UTC nanoseconds; any when left out)."""
    limit = (1 << 63) - 1 if upto is None else upto
    rows: Any = connection.execute(
        "SELECT seq, ts, hash, data FROM zq_snapshot WHERE seq = (SELECT max(seq) FROM zq_snapshot WHERE ts <= ?) "
        "ORDER BY part",
        (limit,),
    ).fetchall()
    return Snapshot(Head(*rows[0][:3]), tuple(row[3] for row in rows)) if rows else None


def unpack(snapshot: Snapshot) -> Iterator[bytes]:
    """The parts as bodies of change rows. Raises DatabaseError for one that is damaged."""
    unpacker = zstandard.ZstdDecompressor()
    for part in snapshot.parts:
        if not part.startswith(zstandard.FRAME_HEADER):
            yield changelog.row_body(0, rowblocks.unpack(part))
            continue
        try:
            yield unpacker.decompress(part, max_output_size=_MOST_BYTES)
        except zstandard.ZstdError as error:
            raise DatabaseError(f"the snapshot at {snapshot.head.seq} is damaged: {error}") from error


def _packed(entries: Iterator[Any]) -> Iterator[bytes]:
    """The parts that hold these entries."""
    packer = zstandard.ZstdCompressor(level=3)
    others: list[Any] = []
    for table, group in groupby(entries, lambda entry: entry[0]):
        while rows := _chunk(table, group):
            block = rowblocks.pack(rows) if table != SCHEMA else None
            if block is None:
                others += rows
            if others and (block is not None or len(others) >= _ENTRIES):
                yield packer.compress(changelog.row_body(0, others))
                others.clear()
            if block is not None:
                yield block
    yield packer.compress(changelog.row_body(0, others))


def _chunk(table: int, group: Iterator[Any]) -> list[Any]:
    """The next entries of a group: as many rows as fit into a block."""
    first = next(group, None)
    if first is None:
        return []
    count = _ENTRIES if table == SCHEMA else rowblocks.fits(len(first[3]))
    return [first, *islice(group, count - 1)]


def _entries(connection: apsw.Connection, schema: layout.Schema) -> Iterator[Any]:
    for table in schema.values():
        yield (SCHEMA, "table", table, {})
        if not table.module:
            for key, values in images(connection, table):
                yield (table.id, INSERT, key, values)
    for item in layout.scan(connection).objects.values():
        yield (SCHEMA, "object", item)
