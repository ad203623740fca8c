"""The open end of a series, on the writer's thread: samples as rows, then in small blocks, then in full ones.

A sample as a row takes ten times what it takes in a block, and a key may be long in filling one: what is open is sealed
as soon as it is worth a small block, and small blocks become a full one when there are enough of them.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from ghostwire.zqlite.series import columns, tables, window
from ghostwire.zqlite.series.columns import pack
from ghostwire.zqlite.series.schema import END, FIRST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.series.columns import Window
    from ghostwire.zqlite.series.shelf import Known, Shelf

_PUT: Final = "INSERT OR REPLACE INTO main.zq_tail VALUES (?, ?, ?, ?)"
_COUNT: Final = "SELECT count(*) FROM main.zq_tail WHERE series = ? AND key = ?"
_TAKE: Final = "SELECT at, sample FROM main.zq_tail WHERE series = ? AND key = ? ORDER BY at LIMIT ?"
_DROP: Final = "DELETE FROM main.zq_tail WHERE series = ? AND key = ? AND at <= ?"
_BLOCK: Final = "INSERT INTO main.zq_block VALUES (?, ?, ?, ?, ?, ?, ?)"
_SMALL: Final = (
    "SELECT number, rows FROM main.zq_block WHERE series = ? AND key = ? AND rows < ? ORDER BY first, number"
)
_DROP_BLOCK: Final = "DELETE FROM main.zq_block WHERE number = ?"

SEALS_AT_ONCE: Final = 64
"""Keys that began together fill their blocks together: the rest waits for its next sample, so that others need not."""
_USES: Final = 31
"""A key version seals 2**31 blocks at most: far below what random nonces of 96 bits allow."""


def of(shelf: Shelf, known: Known) -> Tail:
    """The open end of a series, one for whoever writes it."""
    return shelf.tails.setdefault(known.id, Tail(shelf, known))


class Tail:
    """How many open samples each key has, as far as it was asked. Belongs to the writer's thread."""

    def __init__(self, shelf: Shelf, known: Known) -> None:
        self.known = known
        self.sealed = 0
        self._shelf = shelf
        self._counts: dict[int, int] = {}
        self._replaced: list[int] = []

    def append(self, applier: Applier, rows: Sequence[Any]) -> None:
        """Keep samples (key, time, values...), in one transaction; what is enough for a block is sealed in it."""
        keys = {row[0] for row in rows}
        self.changing(keys)
        try:
            with applier.unlogged():
                self.put(applier, rows)
                self.seal(applier, keys)
        except BaseException:
            self.recount(keys)
            raise
        finally:
            self.told()

    def load(self, applier: Applier, key: int, times: NDArray[Any], values: Sequence[Any]) -> None:
        """Keep many samples of one key, in order of time: what fills blocks goes into them at once."""
        size = self.known.schema.capacity
        full = len(times) // size * size
        self.changing((key,))
        try:
            with applier.unlogged():
                for start in range(0, full, size):
                    part = slice(start, start + size)
                    self._seal(applier, key, times[part], [column[part] for column in values])
                rest = zip(times[full:].tolist(), *(_plain(column[full:]) for column in values), strict=True)
                self.put(applier, [(key, *row) for row in rest])
                self.seal(applier, (key,))
        except BaseException:
            self.recount((key,))
            raise
        finally:
            self.told()

    def put(self, applier: Applier, rows: Iterable[Any]) -> None:
        """Keep samples as rows, within a transaction."""
        series, counts = self.known.id, self._counts
        packed = []
        for row in rows:
            key = row[0]
            if key in counts:
                counts[key] += 1
            packed.append((series, key, row[1], pack(row[2:])))
        applier.own_many(_PUT, packed)

    def seal(self, applier: Applier, keys: Iterable[int]) -> None:
        """Seal what is enough for a block, some at once, within a transaction."""
        schema, counts = self.known.schema, self._counts
        last = self.sealed + SEALS_AT_ONCE
        for key in keys:
            if key not in counts:
                counts[key] = self._count(applier, key)
            while counts[key] >= schema.small and self.sealed < last:
                rows: Any = applier.own(_TAKE, (self.known.id, key, schema.capacity)).fetchall()
                if len(rows) < schema.small:
                    counts[key] = len(rows)  # some samples came twice
                    break
                self._keep(applier, key, columns.of_rows(schema, rows))
                applier.own(_DROP, (self.known.id, key, rows[-1][0]))
                counts[key] -= len(rows)

    def recount(self, keys: Iterable[int]) -> None:
        """Rows of these keys have gone, or came and were taken back: count them anew when next asked."""
        for key in keys:
            self._counts.pop(key, None)

    def changing(self, keys: Iterable[int]) -> None:
        """Something is about to be done to these keys."""
        self._shelf.directory.changing(self.known.id, keys)

    def told(self) -> None:
        """What was done can be seen now, or was taken back."""
        self._shelf.directory.changed()
        while self._replaced:
            self._shelf.cache.forget(self.known.owner, self._replaced.pop())

    def _keep(self, applier: Applier, key: int, samples: Window) -> None:
        """Put samples into a block of their own, or with the small ones of their key into a full one."""
        schema = self.known.schema
        small: Any = applier.own(_SMALL, (self.known.id, key, schema.capacity)).fetchall()
        if sum(rows for _, rows in small) + len(samples) >= schema.capacity:
            parts = []
            for number, _ in small:
                block = window.fetch(applier.connection, self._shelf, self.known, key, number)
                parts.append(columns.of_block(block, FIRST, END))
                applier.own(_DROP_BLOCK, (number,))
                self._replaced.append(number)
            samples = columns.join(schema, [*parts, samples])
        for start in range(0, len(samples), schema.capacity):
            part = samples.part(start, start + schema.capacity)
            self._seal(applier, key, part.at, part.columns)

    def _seal(self, applier: Applier, key: int, times: NDArray[Any], values: Sequence[Any]) -> None:
        block = columns.block(self.known.schema, times, values)
        number = tables.next_number(applier)
        version = 1 + (number >> _USES)
        data = self._shelf.sealer.seal(block, self.known.place(key), number, version, secrets.token_bytes(12))
        applier.own(_BLOCK, (number, self.known.id, key, int(times[0]), int(times[-1]), len(times), data))
        self.sealed += 1

    def _count(self, applier: Applier, key: int) -> int:
        rows: Any = applier.own(_COUNT, (self.known.id, key)).fetchall()
        return int(rows[0][0])


def _plain(values: Any) -> list[Any]:
    plain: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return plain
