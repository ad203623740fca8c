"""The older part of the change log in column blocks, a tenth of its room, read as if it stood in the table.

A block holds consecutive rows and ends with one whose commit is signed, so that its signature still vouches for all
before it; those of the rows between go. Hashes are not kept: they follow from that of the row before the block, and the
last one has to come out again. A block is sealed under its store and its last row's number.
"""

from __future__ import annotations

import contextlib
import secrets
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ghostwire._native import blocks
from ghostwire.errors import DatabaseError, NotFoundError, ValidationError
from ghostwire.model.change import ChangeRecord
from ghostwire.zqlite import changelog
from ghostwire.zqlite.index.tables import RowsTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.reader import Reader
    from ghostwire.zqlite.series.shelf import Shelf

TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS zq_archive(last INTEGER PRIMARY KEY, first INTEGER NOT NULL, epoch INTEGER NOT NULL, "
    "prev BLOB NOT NULL, hash BLOB NOT NULL, data BLOB NOT NULL)"
)
COLUMNS: Final = "seq, epoch, ts, actor, kind, body, prev, hash"
ROWS: Final = (
    f"SELECT {COLUMNS} FROM change_archived(:after) UNION ALL SELECT {COLUMNS} FROM change WHERE seq > :after "  # noqa: S608
    "ORDER BY seq"
)
"""The log behind row `:after`, whether archived or not. With a LIMIT it reads no further."""
HEAD: Final = (
    "SELECT seq, ts, hash FROM change WHERE seq = :seq UNION ALL "
    "SELECT seq, ts, hash FROM change_archived(:seq - 1) WHERE seq = :seq LIMIT 1"
)
"""Row `:seq` of the log, as a head."""
OLDEST: Final = (
    "SELECT min(first) FROM (SELECT min(seq) AS first FROM change UNION ALL SELECT min(first) FROM zq_archive)"
)
"""The number of the oldest row that is kept."""

_KINDS: Final = "iittb"
_PLACE: Final = b"change log"
_BLOCK_BYTES: Final = 64 * 1024
_BLOCK_ROWS: Final = 2048
_LEVEL: Final = 9
"""Of zstd: a block is made once and read for years."""
_MOST_BYTES: Final = 1 << 20
"""What has no signature for so long stays in the table."""
_ESTIMATE: Final = 1_000_000
_LIMIT: Final = "SELECT max(seq) FROM zq_group WHERE seq <= min(?, (SELECT max(seq) FROM zq_snapshot))"
_OPEN: Final = (
    f"SELECT {COLUMNS}, EXISTS (SELECT 1 FROM zq_group WHERE zq_group.seq = change.seq), "  # noqa: S608
    "EXISTS (SELECT 1 FROM zq_snapshot WHERE zq_snapshot.seq = change.seq) "
    "FROM change WHERE seq > ? AND seq <= ? ORDER BY seq"
)
_STANDING: Final = "SELECT count(*) FROM main.change WHERE seq BETWEEN ? AND ?"
_BEHIND: Final = "SELECT last, first, prev, hash FROM zq_archive WHERE last > ? ORDER BY last"
_DATA: Final = "SELECT data FROM zq_archive WHERE last = ?"


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows for one block. Where they cannot be one, `rows` is empty, and what comes up to row `last` stays."""

    last: int
    rows: tuple[ChangeRecord, ...]


class Archive:
    """A store's archived rows, with what opens their blocks, and the cache that all its readers share."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._owner = shelf.cache.owner()

    def register(self, connection: apsw.Connection) -> None:
        """Give a connection the table-valued function `change_archived(after)`."""

        def rows(after: int) -> Iterator[tuple[Any, ...]]:
            return self._rows(connection, after)

        table = RowsTable(COLUMNS, ("after",), rows, estimate=_ESTIMATE, ordered=True)
        table.register(connection, "change_archived")

    def keep(self, applier: Applier, piece: Piece) -> int:
        """Put a piece's rows into a block in their stead; how many went. Called by the writer between commits."""
        first, last, count = piece.rows[0], piece.rows[-1], len(piece.rows)
        try:
            block = _block(piece.rows)
            data = self._shelf.sealer.seal(block, _PLACE, last.seq, 1, secrets.token_bytes(12), _LEVEL)
        except ValidationError:
            return 0  # too much for a block: it stays as it is
        standing: Any = applier.own(_STANDING, (first.seq, last.seq)).fetchall()
        if standing[0][0] != count:
            return 0  # `retain` was faster
        with applier.unlogged():
            applier.own("DELETE FROM main.change WHERE seq BETWEEN ? AND ?", (first.seq, last.seq))
            applier.own("DELETE FROM main.zq_group WHERE seq >= ? AND seq < ?", (first.seq, last.seq))
            row = (last.seq, first.seq, last.epoch, first.prev, last.hash, data)
            applier.own("INSERT INTO main.zq_archive VALUES (?, ?, ?, ?, ?, ?)", row)
        return count

    def _rows(self, connection: apsw.Connection, after: int) -> Iterator[tuple[Any, ...]]:
        if not connection.table_exists("main", "zq_archive"):
            return
        with contextlib.closing(connection.cursor()) as cursor:
            listed: Any = cursor.execute(_BEHIND, (after,))
            for last, first, prev, digest in listed:
                block = self._fetch(connection, last)
                for row in _records(block, first, last, prev, digest):
                    if row[0] > after:
                        yield row

    def _fetch(self, connection: apsw.Connection, last: int) -> blocks.Block:
        def load() -> bytes:
            found: Any = connection.execute(_DATA, (last,)).fetchall()
            return bytes(found[0][0])

        return self._shelf.cache.fetch(self._owner, last, self._shelf.sealer, _PLACE, load)


def limit(reader: Reader, before: int) -> int:
    """Up to which row the log may be archived: `before`, the newest snapshot, or the newest signed row before either.

    Raises NotFoundError where there is no snapshot.
    """
    if reader.value("SELECT max(seq) FROM zq_snapshot") is None:
        raise NotFoundError("there is no snapshot: take one first, the log before it may be archived then")
    return reader.value(_LIMIT, (before,)) or 0


def piece(reader: Reader, after: int, upto: int) -> Piece | None:
    """The next rows behind `after` that make a block, up to row `upto`; None where there are none.

    They end with a signed row, and where a snapshot stands: the log may be dropped up to there.
    """
    rows: list[ChangeRecord] = []
    size, end = 0, 0
    for *columns, signed, stands in reader.connection.cursor().execute(_OPEN, (after, upto)):
        record: ChangeRecord = ChangeRecord(*columns)
        if rows and record.seq != rows[-1].seq + 1:
            break
        if end and size + len(record.body) > _MOST_BYTES:
            break
        rows.append(record)
        size += len(record.body)
        if signed:
            end = len(rows)
            if stands or size >= _BLOCK_BYTES or end >= _BLOCK_ROWS:
                break
    if not rows:
        return None
    if not end or size > _MOST_BYTES:
        return Piece(rows[-1].seq, ())
    return Piece(rows[end - 1].seq, tuple(rows[:end]))


def _block(rows: tuple[ChangeRecord, ...]) -> blocks.Block:
    numbers = [array("q", column) for column in ([row.epoch for row in rows], [row.ts for row in rows])]
    texts = [row.actor for row in rows], [row.kind for row in rows]
    return blocks.Block.of(_KINDS, [*numbers, *texts, [row.body for row in rows]])


def _records(block: blocks.Block, first: int, last: int, prev: bytes, digest: bytes) -> Iterator[tuple[Any, ...]]:
    """The rows of a block. Raises DatabaseError where they do not lead from `prev` to `digest`."""
    if block.kinds != _KINDS or block.rows != last - first + 1:
        raise DatabaseError(f"the change log is broken at {first}: its block holds other rows")
    columns = [memoryview(block.values(at)).cast("B").cast("q") for at in (0, 1)]
    texts = [block.texts(at, 0, block.rows) for at in (2, 3, 4)]
    for seq, (epoch, ts, actor, kind, body) in enumerate(zip(*columns, *texts, strict=True), first):
        found = changelog.digest(seq, epoch, ts, actor, kind, body, prev)
        if seq == last and found != digest:
            raise DatabaseError(f"the change log is broken at {seq}: its content does not match its hash")
        yield seq, epoch, ts, actor, kind, body, prev, found
        prev = found
