"""What a store does to its sealed columns beside its users' work: fresh keys, fresh dictionaries, and re-encryption.

Re-encryption goes through the tables in batches, each an operation of its own among those of others, so that reads and
writes go on; a mark in the file stands until it is done, and the next `open` goes on where a crash or `close` has cut
it short. Old key versions and dictionaries are kept: the log names them.
"""

# Every name in the statements that are built here is quoted.
# ruff: noqa: S608

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from ghostwire.errors import DatabaseError, GhostwireError
from ghostwire.zqlite import dictionaries
from ghostwire.zqlite.columns import quote
from ghostwire.zqlite.dictionaries import SAMPLE_BYTES, SAMPLE_VALUES, Codec
from ghostwire.zqlite.kinds import COMPRESSED
from ghostwire.zqlite.operation import Script
from ghostwire.zqlite.sealing import META, tables
from ghostwire.zqlite.writer import Errand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.columns import SealedColumn, SealedTable
    from ghostwire.zqlite.reader import Reader
    from ghostwire.zqlite.sealer import Sealer
    from ghostwire.zqlite.sealing import Ring
    from ghostwire.zqlite.writer import Work

UNFINISHED: Final = "reseal"
"""The store's setting that stands while values wait for re-encryption."""
REST_SECONDS: Final = 60.0
"""After a failure in the background: the next try waits."""
KIND_RESEAL: Final = "zqlite.reseal"
KIND_DICTIONARY: Final = "zqlite.dictionary"
BATCH: Final = 256

_BEFORE_ALL: Final = -(1 << 63)
_SET: Final = "INSERT OR REPLACE INTO main.zq_meta VALUES (?, ?)"

T = TypeVar("T")


class Run(Protocol):
    """Calls a function in a read transaction on another thread."""

    def __call__(self, function: Callable[[Reader], T]) -> Awaitable[T]:
        """What it returned."""


@dataclass(frozen=True, slots=True)
class Host:
    """The store, as far as its upkeep goes. `enqueue` hands work to the writer."""

    run: Run
    enqueue: Callable[[Work], asyncio.Future[Any]]
    sealer: Sealer


@dataclass(frozen=True, slots=True)
class Training:
    """A dictionary that is worth having, and whose it is."""

    table: SealedTable
    column: SealedColumn
    data: bytes
    ratio: float


class Upkeep:
    """One upkeep at a time. `error` is what the one in the background failed with last, if it did."""

    def __init__(self) -> None:
        self.error: GhostwireError | None = None
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._rest = 0.0

    def wake(self, host: Host) -> None:
        """See to what is due, in the background."""
        loop = asyncio.get_running_loop()
        if self._task is None and loop.time() >= self._rest:
            self._task = loop.create_task(self._tend(host))

    async def rotate(self, host: Host) -> None:
        """Change the keys; returns once every value is under the new ones."""
        async with self._lock:
            await host.enqueue(Errand(_rotate))
            await reseal(host)

    async def train(self, host: Host) -> int:
        """Train what is worth training, and pack what has no dictionary yet; how many there are new."""
        async with self._lock:
            kept = await train(host)
            await reseal(host)
        return kept

    async def close(self) -> None:
        """Stop in the middle; the next `open` goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _tend(self, host: Host) -> None:
        try:
            async with self._lock:
                await tend(host)
        except GhostwireError as error:
            self.error = error
            self._rest = asyncio.get_running_loop().time() + REST_SECONDS
        finally:
            self._task = None


async def tend(host: Host) -> None:
    """Do what is due: change worn keys, train dictionaries, and re-encrypt what waits for it."""
    sealer = host.sealer
    if sealer.ring.ledger.worn:
        await host.enqueue(Errand(_rotate))
    due, sealer.codec.due = sealer.codec.due, set()
    if due:
        await train(host, due)
    await reseal(host)


async def train(host: Host, only: set[bytes] | None = None) -> int:
    """Train dictionaries for the columns with these ids, or all that are COMPRESSED; how many were worth having."""
    kept = 0
    for table in await host.run(lambda reader: tables(reader.connection)):
        for column in table.sealed:
            if not column.kind & COMPRESSED or (only is not None and column.id not in only):
                continue
            found = await host.run(_Study(table, column, host.sealer.ring))
            if found is not None:
                kept += await host.enqueue(Errand(_Keep(found)))
    return kept


async def reseal(host: Host) -> None:
    """Bring every value under the newest key version, and pack those that were packed without a dictionary.

    Raises DatabaseError, after all others, where some do not open: they stay as they are.
    """
    if not await host.run(_unfinished):
        return
    damaged = host.sealer.damaged
    for table in await host.run(lambda reader: tables(reader.connection)):
        text, after = _batch(table), _BEFORE_ALL
        while (upto := await host.run(_Next(table, after))) is not None:
            await host.enqueue(Script(text, {"after": after, "upto": upto}, kind=KIND_RESEAL, own=True))
            after = upto
    await host.enqueue(Errand(_finish))
    if host.sealer.damaged > damaged:
        raise DatabaseError(
            f"{host.sealer.damaged - damaged} sealed values do not open and stay under their old key: they were "
            "changed, or moved from another place"
        )


@dataclass(frozen=True, slots=True)
class _Next:
    """The last row id of the batch behind `after`, or None at the end."""

    table: SealedTable
    after: int

    def __call__(self, reader: Reader) -> int | None:
        rows = f"SELECT rowid AS r FROM {quote(self.table.base)} WHERE rowid > ? ORDER BY rowid LIMIT {BATCH}"
        found: int | None = reader.value(f"SELECT max(r) FROM ({rows})", (self.after,))
        return found


@dataclass(frozen=True, slots=True)
class _Study:
    """Looks at the newest values of a column. For a thread of the read pool."""

    table: SealedTable
    column: SealedColumn
    ring: Ring

    def __call__(self, reader: Reader) -> Training | None:
        table, column, ring = self.table, self.column, self.ring
        codec = Codec(reader.connection, ring.reveal)
        name = quote(column.name)
        sample: list[bytes] = []
        size = 0
        for sealed, *row in reader.stream(
            f"SELECT {name}, {table.row} FROM {quote(table.base)} WHERE {name} IS NOT NULL ORDER BY rowid DESC LIMIT ?",
            (SAMPLE_VALUES,),
        ):
            try:
                value = ring.unseal(codec, table.place(column), column.kind, sealed, row)
            except DatabaseError:
                continue  # a damaged value teaches nothing; whoever reads it is told
            sample.append(msgspec.msgpack.encode(value))
            size += len(sample[-1])
            if size > SAMPLE_BYTES:
                break
        found = dictionaries.train(sample, codec.present(column.id))
        return Training(table, column, *found) if found else None


@dataclass(frozen=True, slots=True)
class _Keep:
    """Puts a dictionary into the table and the log, and uses it from then on."""

    training: Training

    def __call__(self, applier: Applier) -> int:
        told, codec = self.training, applier.sealer.codec
        number = codec.current(told.column.id) + 1
        if number > dictionaries.MOST_NUMBER:
            return 0
        data = applier.sealer.ring.conceal(told.table.place(told.column), told.column.kind, number, told.data)
        text = (
            "INSERT INTO main.zq_dictionary SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM main.zq_sealed WHERE id = ?)"
        )
        with applier.alone(KIND_DICTIONARY):
            applier.run(Script(text, (told.column.id, number, told.ratio, data, told.table.id), own=True))
            if number == 1:
                applier.own(_SET, (UNFINISHED, 1))
        codec.forget()
        return 1


def _rotate(applier: Applier) -> None:
    secret, wrapped = applier.sealer.ring.rotated()
    with applier.alone():
        applier.own(_SET, (META, wrapped))
        applier.own(_SET, (UNFINISHED, 1))
    applier.sealer.ring.adopt(secret)


def _finish(applier: Applier) -> None:
    """Dictionaries of ENCRYPTED columns under the newest key version too, and the mark away."""
    with applier.alone(KIND_DICTIONARY):
        for table in tables(applier.connection):
            for column in table.sealed:
                _refresh(applier, table, column)
        applier.own("DELETE FROM main.zq_meta WHERE key = ?", (UNFINISHED,))


def _refresh(applier: Applier, table: SealedTable, column: SealedColumn) -> None:
    ring = applier.sealer.ring
    rows: Any = applier.own("SELECT number, data FROM main.zq_dictionary WHERE column_id = ?", (column.id,)).fetchall()
    for number, data in rows:
        if ring.outdated(data):
            plain = ring.reveal(column.id, number, data)
            fresh = ring.conceal(table.place(column), column.kind, number, plain)
            text = "UPDATE main.zq_dictionary SET data = ? WHERE column_id = ? AND number = ?"
            applier.run(Script(text, (fresh, column.id, number), own=True))


def _unfinished(reader: Reader) -> bool:
    return reader.value("SELECT 1 FROM zq_meta WHERE key = ?", (UNFINISHED,)) is not None


def _batch(table: SealedTable) -> str:
    def args(column: SealedColumn) -> str:
        return f"x'{table.place(column).hex()}', {column.kind}, {quote(column.name)}"

    puts = ", ".join(f"{quote(c.name)} = zq_reseal({args(c)}, {table.row})" for c in table.sealed)
    stale = " OR ".join(f"zq_stale({args(c)})" for c in table.sealed)
    return f"UPDATE {quote(table.base)} SET {puts} WHERE rowid > :after AND rowid <= :upto AND ({stale})"
