"""Reads what a series has of a key between two times: from the cache alone, or in a read transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ghostwire.errors import DatabaseError
from ghostwire.zqlite.series import columns
from ghostwire.zqlite.series.directory import Entry, Span
from ghostwire.zqlite.series.schema import END

if TYPE_CHECKING:
    import apsw

    from ghostwire._native import blocks
    from ghostwire.zqlite.series.columns import Window
    from ghostwire.zqlite.series.shelf import Known, Shelf

_SPANS: Final = "SELECT first, last, number FROM zq_block WHERE series = ? AND key = ? ORDER BY first, number"
_OPEN: Final = "SELECT min(at) FROM zq_tail WHERE series = ? AND key = ?"
_TAIL: Final = "SELECT at, sample FROM zq_tail WHERE series = ? AND key = ? AND at >= ? AND at < ? ORDER BY at"
_DATA: Final = "SELECT data FROM zq_block WHERE number = ?"


def cached(shelf: Shelf, known: Known, key: int, since: int, until: int) -> Window | None:
    """The window if the cache has all of it, else None. Runs no query."""
    entry = shelf.directory.find(known.id, key)
    if entry is None or until > entry.open_from:
        return None
    parts, get = [], shelf.cache.get
    for span in entry.within(since, until):
        block = get(known.owner, span.number)
        if block is None:
            return None
        parts.append(columns.of_block(block, since, until))
    return columns.join(known.schema, parts)


def read(
    connection: apsw.Connection, shelf: Shelf, known: Known, key: int, since: int, until: int, generation: int = -1
) -> Window:
    """The window as the connection sees it.

    With the directory's `generation` from before its transaction, where blocks stand is remembered for `cached`.
    """
    rows: Any = connection.execute(_SPANS, (known.id, key)).fetchall()
    oldest: Any = connection.execute(_OPEN, (known.id, key)).fetchall()
    entry = Entry([Span(*row) for row in rows], END if oldest[0][0] is None else oldest[0][0])
    shelf.directory.keep(known.id, key, entry, generation)
    parts = [
        columns.of_block(fetch(connection, shelf, known, key, span.number), since, until)
        for span in entry.within(since, until)
    ]
    tail: Any = connection.execute(_TAIL, (known.id, key, since, until)).fetchall() if entry.open_from < until else ()
    if tail:
        parts.append(columns.of_rows(known.schema, tail))
    return columns.join(known.schema, parts)


def fetch(connection: apsw.Connection, shelf: Shelf, known: Known, key: int, number: int) -> blocks.Block:
    """A block, from the cache or the file."""

    def load() -> bytes:
        rows: Any = connection.execute(_DATA, (number,)).fetchall()
        if not rows:
            raise DatabaseError(f"block {number} of the series {known.schema.name} is missing: the file is damaged")
        return bytes(rows[0][0])

    return shelf.cache.fetch(known.owner, number, shelf.sealer, known.place(key), load)
