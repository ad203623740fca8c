"""What has been kept for long enough: samples become stretches of the roll-up, stretches go.

What is to go is looked for by a reader; the writer then takes it in small pieces, each in one transaction, so that
others need not wait. A sample is always in exactly one place: as itself or in its stretch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ghostwire.zqlite.series import buckets, columns, keys, window
from ghostwire.zqlite.series.schema import END, FIRST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.reader import Reader
    from ghostwire.zqlite.series.shelf import Known, Shelf
    from ghostwire.zqlite.series.tail import Tail

KEYS_AT_ONCE: Final = 32
"""How many keys one transaction of the writer deals with."""

_KEYS: Final = "SELECT DISTINCT key FROM zq_block WHERE series = ? AND last < ?"
_BLOCKS: Final = "SELECT number FROM main.zq_block WHERE series = ? AND key = ? AND last < ? ORDER BY first"
_OLD: Final = "SELECT at, sample FROM main.zq_tail WHERE series = ? AND key = ? AND at < ? ORDER BY at"
_DROP_BLOCK: Final = "DELETE FROM main.zq_block WHERE number = ? RETURNING rows"
_DROP_ROWS: Final = "DELETE FROM main.zq_tail WHERE series = ? AND key = ? AND at < ?"
_STANDS: Final = "SELECT at, sample FROM main.zq_tail WHERE series = ? AND key = ? AND at = ?"


def find(reader: Reader, known: Known, cutoff: int) -> list[int]:
    """The keys that have something from before `cutoff` (UTC nanoseconds) to go."""
    listed: Any = reader.connection.execute(_KEYS, (known.id, cutoff)).fetchall()
    return sorted({key for (key,) in listed} | set(keys.opened(reader.connection, known, keys.EVERY, FIRST, cutoff)))


def pieces(due: Sequence[int]) -> Iterator[Sequence[int]]:
    """The keys that the writer takes at once."""
    return (due[start : start + KEYS_AT_ONCE] for start in range(0, len(due), KEYS_AT_ONCE))


def drop(shelf: Shelf, tail: Tail, due: Sequence[int], cutoff: int, rolled: Tail | None, applier: Applier) -> int:
    """Take samples from before `cutoff` out, into the roll-up where there is one; how many went.

    Which blocks they are in is looked up here: since the keys were found, small ones may have become one.
    """
    known, gone = tail.known, 0
    dropped: list[int] = []
    tails = [each for each in (tail, rolled) if each is not None]
    for changed in tails:
        changed.changing(due)
    try:
        with applier.unlogged():
            for key in due:
                listed: Any = applier.own(_BLOCKS, (known.id, key, cutoff)).fetchall()
                numbers = [number for (number,) in listed]
                if rolled is not None:
                    _roll(applier, shelf, known, key, numbers, cutoff, rolled)
                for number in numbers:
                    rows: Any = applier.own(_DROP_BLOCK, (number,)).fetchall()
                    gone += sum(row[0] for row in rows)
                applier.own(_DROP_ROWS, (known.id, key, cutoff))
                gone += applier.connection.changes()
                dropped += numbers
    finally:
        for changed in tails:
            changed.recount(due)
            changed.told()
    for number in dropped:
        shelf.cache.forget(known.owner, number)
    return gone


def _roll(
    applier: Applier, shelf: Shelf, known: Known, key: int, numbers: Sequence[int], cutoff: int, rolled: Tail
) -> None:
    """Add what goes to the stretches of the roll-up; one that stands open there already grows."""
    schema, connection = known.schema, applier.connection
    found = [window.fetch(connection, shelf, known, key, number) for number in numbers]
    parts = [columns.of_block(block, FIRST, END) for block in found]
    rows: Any = applier.own(_OLD, (known.id, key, cutoff)).fetchall()
    parts.append(columns.of_rows(schema, rows))
    sums = buckets.regroup(buckets.of_samples(schema, columns.join(schema, parts)), schema.bucket_ns)
    if not len(sums.at):
        return
    stands: Any = applier.own(_STANDS, (rolled.known.id, key, int(sums.at[0]))).fetchall()
    if stands:
        before = buckets.of_rolled(columns.of_rows(rolled.known.schema, stands))
        sums = buckets.regroup(buckets.join([before, sums]), schema.bucket_ns)
    rolled.put(applier, sums.rows(key))
    rolled.seal(applier, (key,))
