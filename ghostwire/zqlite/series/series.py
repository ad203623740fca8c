"""A series as its users see it."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from ghostwire.errors import ConflictError, ValidationError
from ghostwire.zqlite.series import buckets, columns, insert, keys, retention, table, tables, tail, window
from ghostwire.zqlite.series.schema import END, FIRST, Schema, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.reader import Reader
    from ghostwire.zqlite.series.buckets import Sums
    from ghostwire.zqlite.series.columns import Window
    from ghostwire.zqlite.series.shelf import Known
    from ghostwire.zqlite.series.tail import Tail
    from ghostwire.zqlite.store import Store

_ADD: Final = "INSERT INTO main.zq_series(name, mark, schema) VALUES (?, ?, ?)"
_THERE: Final = "SELECT 1 FROM sqlite_schema WHERE name = ?"
_STANDS: Final = "SELECT schema FROM main.zq_series WHERE name = ?"


async def create(db: Store, schema: Schema) -> Series:
    """The series of this schema, made if it is missing, with a view of its name for SQL.

    Raises ConflictError where there is one of another schema, or a table of its name, ValidationError for a schema
    that cannot be.
    """
    schema.check()

    def make(applier: Applier) -> bool:
        with applier.unlogged():
            tables.make(applier)
            stands: Any = applier.own(_STANDS, (schema.name,)).fetchall()
            if stands:
                if msgspec.msgpack.decode(stands[0][0], type=Schema) != schema:
                    raise ConflictError(
                        f"there is a series {schema.name} with other columns or times: use another name"
                    )
                return False
            if applier.connection.table_exists("main", schema.name):
                raise ConflictError(f"there is a table {schema.name} already: a series needs a name of its own")
            for each in (schema, schema.rolled):
                if each is not None:
                    applier.own(_ADD, (each.name, secrets.token_bytes(16), msgspec.msgpack.encode(each)))
        return True

    await db.work(make)
    for each in (schema, schema.rolled):
        if each is not None and not await db.query(_THERE, (each.name,)):
            await db.execute(table.view(each), kind="series")
    if not await db.query(_THERE, (insert.trigger_name(schema),)):
        await db.execute(insert.trigger(schema), kind="series")
    return await open(db, schema.name)


async def open(db: Store, name: str) -> Series:
    """The series of that name. Raises NotFoundError."""

    def find(reader: Reader) -> tuple[Known, Known | None]:
        known = db.shelf.find(reader.connection, name)
        rolled = known.schema.rolled
        return known, None if rolled is None else db.shelf.find(reader.connection, rolled.name)

    return Series(db, *await db.run(find))


class Series:
    """An open series."""

    def __init__(self, db: Store, known: Known, rolled: Known | None) -> None:
        self.schema = known.schema
        self._db = db
        self._shelf = db.shelf
        self._known = known
        self._tail = tail.of(db.shelf, known)
        self._rolled = None if rolled is None else tail.of(db.shelf, rolled)

    async def append(self, samples: Sequence[tuple[Any, ...]]) -> None:
        """Keep samples (key, time in UTC nanoseconds, values in the schema's order); returns once they are stored.

        A second sample of a key at the same time takes the place of the first, as long as that is in no block. Raises
        ValidationError for a value of another kind than its column's.
        """
        rows = self.schema.samples(samples)
        if rows:
            await self._db.work(lambda applier: self._tail.append(applier, rows))

    async def load(self, key: int, at: Any, values: Sequence[Any]) -> None:
        """Keep many samples of one key at once, given as columns in order of time: the fast way in.

        Raises ValidationError for columns of different lengths or kinds, and for times that go back.
        """
        schema = self.schema
        if len(values) != len(schema.columns):
            raise ValidationError(f"series {schema.name} has {len(schema.columns)} columns, not {len(values)}")
        try:
            times = np.ascontiguousarray(at, np.int64)
            given = [
                _texts(column) if kind == "t" else np.ascontiguousarray(column, columns.DTYPES[kind])
                for column, kind in zip(values, schema.kinds[1:], strict=True)
            ]
        except (TypeError, ValueError, OverflowError) as error:
            raise ValidationError(f"a column does not fit the series {schema.name}: {error}") from error
        if any(np.ndim(column) != 1 or len(column) != len(times) for column in (times, *given)):
            raise ValidationError("the times and each column are one list, all of one length")
        if (times[1:] <= times[:-1]).any():
            raise ValidationError("the times of a load go up, each only once")
        await self._db.work(lambda applier: self._tail.load(applier, key, times, given))

    def peek(self, key: int, since: int, until: int) -> Window | None:
        """The same as `window` at once, without a query, if the cache has all of it; else None."""
        return window.cached(self._shelf, self._known, key, since, until)

    async def window(self, key: int, since: int, until: int) -> Window:
        """The samples of a key from `since` until before `until` (UTC nanoseconds)."""
        found = self.peek(key, since, until)
        if found is not None:
            return found
        generation = self._shelf.directory.generation
        return await self._db.run(
            lambda reader: window.read(reader.connection, self._shelf, self._known, key, since, until, generation)
        )

    async def summary(self, key: int, since: int, until: int, step_ns: int) -> Sums:
        """The same summed over stretches of `step_ns` from `since` on, with what only the roll-up still has.

        A stretch without samples is left out. Raises ValidationError for a step that makes more than 10,000 stretches.
        """
        if step_ns <= 0 or (until - since) / step_ns > buckets.MOST_BUCKETS:
            raise ValidationError(f"a step gives 1 to {buckets.MOST_BUCKETS} stretches: take a longer one")
        cached = self.peek(key, since, until)
        if cached is not None and self._rolled is None:
            return buckets.regroup(buckets.of_samples(self.schema, cached), step_ns, since)
        generation = self._shelf.directory.generation

        def read(reader: Reader) -> Sums:
            return buckets.regroup(self._sums(reader, key, since, until, generation), step_ns, since)

        return await self._db.run(read)

    async def totals(self, among: range, since: int, until: int, most: int) -> dict[int, Sums]:
        """Each key of the range `among` that has samples from `since` until before `until`, and its one sum of them.

        What only the roll-up still has counts in. Raises ValidationError where that are more than `most` keys.
        """
        if since >= until or among.step != 1 or not FIRST <= among.start < among.stop <= END + 1:
            raise ValidationError("totals are of some keys of 64 bits, without gaps, over some time")
        generation = self._shelf.directory.generation

        def read(reader: Reader) -> dict[int, Sums]:
            sources = [each.known for each in (self._tail, self._rolled) if each is not None]
            of_each = (keys.sampled(reader.connection, each, among, since, until, most) for each in sources)
            found = set[int]().union(*of_each)
            if len(found) > most:
                raise ValidationError(f"more than {most} keys have something of that time: ask for some of them")
            each_of = ((key, self._sums(reader, key, since, until, generation)) for key in sorted(found))
            return {key: buckets.whole(sums, since) for key, sums in each_of if len(sums.at)}

        return await self._db.run(read)

    async def maintain(self, now: int) -> int:
        """Drop what was kept for long enough at `now` (UTC nanoseconds), samples into the roll-up; how many went."""
        gone = await self._expire(self._tail, now - self.schema.keep_ns, self._rolled)
        if self._rolled is not None:
            await self._expire(self._rolled, now - self.schema.keep_rolled_ns, None)
        return gone

    async def forget(self, key: int) -> None:
        """Drop everything of a key."""
        for each in (self._tail, self._rolled):
            if each is not None:
                await self._expire(each, END, None, key)

    def _sums(self, reader: Reader, key: int, since: int, until: int, generation: int) -> Sums:
        """Samples and stretches of the roll-up, as they are."""
        found = window.read(reader.connection, self._shelf, self._known, key, since, until, generation)
        if self._rolled is None:
            return buckets.of_samples(self.schema, found)
        rolled = window.read(reader.connection, self._shelf, self._rolled.known, key, since, until, generation)
        return buckets.join([buckets.of_samples(self.schema, found), buckets.of_rolled(rolled)])

    async def _expire(self, ending: Tail, cutoff: int, rolled: Tail | None, key: int | None = None) -> int:
        due = await self._db.run(lambda reader: retention.find(reader, ending.known, cutoff))
        gone = 0
        for piece in retention.pieces([each for each in due if key in (None, each)]):
            gone += await self._db.work(partial(retention.drop, self._shelf, ending, piece, cutoff, rolled))
        return gone


def _texts(values: Sequence[str]) -> list[str]:
    return msgspec.convert(list(values), list[Text])
