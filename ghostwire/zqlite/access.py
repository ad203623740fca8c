"""Reading and writing a store, and following its log: what every user of it does."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import apsw

from ghostwire.errors import DatabaseError, GhostwireError, UnavailableError, ValidationError
from ghostwire.zqlite import (
    bootstrap,
    changelog,
    closing,
    fence,
    snapshot,
    streaming,
    subscription,
)
from ghostwire.zqlite.hold import Hold, outcome
from ghostwire.zqlite.operation import Operation, Result, Script
from ghostwire.zqlite.pool import Job, Pool
from ghostwire.zqlite.reader import Reader
from ghostwire.zqlite.subscription import Bell
from ghostwire.zqlite.transaction import Transaction, refuse_within
from ghostwire.zqlite.upkeep import Host, Upkeep
from ghostwire.zqlite.watch import SILENT, Seen, Watch
from ghostwire.zqlite.writer import Errand, Ticket, Writer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
    from types import TracebackType

    from ghostwire.model.change import ChangeRecord
    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.conversation import Conversation
    from ghostwire.zqlite.layout import Catalogue
    from ghostwire.zqlite.operation import Params
    from ghostwire.zqlite.rows import Row
    from ghostwire.zqlite.writer import Work

T = TypeVar("T")


class Access:
    """An open store as those who read and write it see it; `Store` adds what is done with it as a whole."""

    def __init__(
        self,
        opened: bootstrap.Opened,
        pool: Pool,
        loop: asyncio.AbstractEventLoop,
        on_fatal: Callable[[DatabaseError], None],
        watch: Watch = SILENT,
    ) -> None:
        self.path = opened.location.path
        self.identity = opened.identity
        self.shelf = opened.shelf
        self._archive = opened.archive
        self._location = opened.location
        self._applier = opened.applier
        self._prepare = opened.prepare
        self._lock = opened.lock
        self._loop = loop
        self._bell = Bell()
        self._pool = pool
        self._upkeep = Upkeep()
        self._watch = watch
        self._writer = Writer(opened.applier, loop, partial(_notice, weakref.ref(self)), on_fatal, watch)
        self.on_fence: Callable[[DatabaseError], None] = ignore
        if opened.fence is not None:
            self._writer.fence = fence.fenced(opened.fence)
        self._pending: list[Ticket] = []
        self._closed: asyncio.Future[None] | None = None
        self._finalizer = weakref.finalize(self, closing.abandon, self._writer, pool, opened.lock)
        self._finalizer.atexit = False
        if opened.unfinished:
            self._upkeep.wake(self._host())

    # Writing

    async def execute(
        self, sql: str, params: Params = (), *, kind: str = "", actor: str = "", within: float | None = None
    ) -> Result:
        """Run one statement or several as one operation; returns once it is on disk.

        After `within` seconds, and when the caller is cancelled, it is taken back where it has not been done yet: the
        former raises UnavailableError.

        `kind` and `actor` label its row in the change log. Raises ConflictError for a value that is taken or a
        reference that does not hold, ValidationError for SQL or values that are wrong, ResourceExhaustedError when the
        disk is full, DatabaseError when the disk failed.
        """
        return await self._write(Script(sql, params, None, kind, actor, hold=Hold()), within)

    async def executemany(
        self, sql: str, many: Sequence[Params], *, kind: str = "", actor: str = "", within: float | None = None
    ) -> Result:
        """Run one statement once for each of `many` parameters, as one operation: all of them or none."""
        return await self._write(Script(sql, (), many, kind, actor, hold=Hold()), within)

    def submit(self, operation: Operation) -> asyncio.Future[ChangeRecord]:
        """Queue an operation; the future has its row of the change log once that is on disk.

        It fails with ConflictError (whose `statement` is the position of the one that refused) when a statement
        changes another number of rows than it must, or a value is taken.
        """
        return self._enqueue(operation)

    def transaction(self, *, actor: str = "", kind: str = "", patience: float = 30.0) -> Transaction:
        """`async with db.transaction() as tx`. After `patience` seconds without a word it is rolled back."""
        return Transaction(self._enlist, actor, kind, patience)

    async def work(self, run: Callable[[Applier], T], *, logs: bool = True) -> T:
        """Have the writer do something on the store's own tables, in transactions of its own.

        What does not write the log (`logs` is false) is done by a fenced store, too.
        """
        done: T = await self._enqueue(Errand(run, logs))
        return done

    # Reading

    async def query(self, sql: str, params: Params = (), *, within: float | None = None) -> list[Row]:
        """The rows of a SELECT, in a transaction of its own, on a thread of the read pool."""
        return await self.run(lambda reader: reader.query(sql, params), within=within)

    async def query_one(self, sql: str, params: Params = (), *, within: float | None = None) -> Row | None:
        """The first row of a SELECT, or None."""
        return await self.run(lambda reader: reader.query_one(sql, params), within=within)

    async def query_as(self, kind: type[T], sql: str, params: Params = (), *, within: float | None = None) -> list[T]:
        """The rows of a SELECT as `kind`, a msgspec struct whose fields are the columns. See `zqlite.into`."""
        return await self.run(lambda reader: reader.query_as(kind, sql, params), within=within)

    def stream(self, sql: str, params: Params = ()) -> AsyncGenerator[Row, None]:
        """`async for row in db.stream(...)`: the rows of a SELECT as they are found, however many; see `streaming`."""
        return streaming.stream(self.run, sql, params)

    async def plan(self, sql: str, params: Params = ()) -> str:
        """How SQLite would go about a statement, a line for each step."""
        return await self.run(lambda reader: reader.plan(sql, params))

    @contextlib.contextmanager
    def read(self) -> Iterator[Reader]:
        """`with db.read() as r`: one read transaction in the calling thread, without a thread hop."""
        reader = self._pool.acquire()
        try:
            reader.begin()
            yield reader
        finally:
            self._pool.release(reader)

    async def run(self, function: Callable[[Reader], T], *, within: float | None = None) -> T:
        """Call `function` with a reader in one read transaction, on a thread of the read pool.

        After `within` seconds, and when the caller is cancelled, its statement is interrupted; the former raises
        UnavailableError.
        """
        self._check()
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: Any, error: GhostwireError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
                self._loop.call_soon_threadsafe(_settle, future, result, error)

        job = Job(function, done)
        self._pool.submit(job)
        try:
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            job.cancel()
            raise UnavailableError(f"the query took longer than {within:g} s and was interrupted") from None
        except asyncio.CancelledError:
            job.cancel()
            raise

    # The change log

    def changes(self, from_seq: int = 0) -> AsyncIterator[ChangeRecord]:
        """Every row of the change log from `from_seq` on (0: all that is kept), then each new one, until `close`.

        Raises NotFoundError when `from_seq` is older than what is kept.
        """
        return subscription.follow(self.run, self._bell, from_seq)

    def pages(self, from_seq: int = 0) -> AsyncGenerator[list[ChangeRecord], None]:
        """The same as `changes`, as many rows at a time as there are: for those who pass them on."""
        return subscription.pages(self.run, self._bell, from_seq)

    @property
    def catalogue(self) -> Catalogue:
        """The tables and what they were: what names the row images of a change row's body."""
        return self._applier.catalogue

    @property
    def epoch(self) -> int:
        """Raised by every restore and promotion."""
        return self._applier.epoch

    def rows(self, body: bytes) -> list[changelog.RowImage]:
        """The row images in a change row's body, with names."""
        return changelog.rows(body, self._applier.catalogue)

    @property
    def head(self) -> changelog.Head:
        """The newest row of the log. Kept elsewhere, it shows later that the log was cut or rewritten: see `verify`."""
        with self.read() as reader:
            return snapshot.newest(reader.connection)

    # Life

    @property
    def fatal(self) -> DatabaseError | None:
        """The disk error that has stopped all writing, if there was one."""
        return self._writer.fatal

    @property
    def upkeep_error(self) -> GhostwireError | None:
        """What re-encryption or training in the background failed with last, if it did."""
        return self._upkeep.error

    @property
    def slow_queries(self) -> list[Seen]:
        """The last queries and writes that took longer than `slow` seconds, the newest last."""
        return list(self._watch.slow)

    @property
    def stats(self) -> dict[str, int]:
        """Plain counters since the store was opened, by name."""
        return {
            **{f"writer_{name}": getattr(self._writer.counters, name) for name in self._writer.counters.__slots__},
            **{f"pool_{name}": getattr(self._pool.counters, name) for name in self._pool.counters.__slots__},
            "pool_oldest_ns": self._pool.oldest(),
            "cache_hits": self._pool.status(apsw.SQLITE_DBSTATUS_CACHE_HIT),
            "cache_misses": self._pool.status(apsw.SQLITE_DBSTATUS_CACHE_MISS),
            "cache_bytes": self._pool.status(apsw.SQLITE_DBSTATUS_CACHE_USED),
            "watch_failures": self._watch.failures,
            **{f"blocks_{name}": value for name, value in self.shelf.stats().items()},
        }

    async def checkpoint(self) -> None:
        """Move the write-ahead log into the file now."""
        await self._enqueue(Errand(lambda applier: applier.connection.wal_checkpoint(), logs=False))

    async def close(self) -> None:
        """Finish what is queued, move the log into the file, free the lock. One file is left; it opens anywhere."""
        if self._closed is None:
            self._flush()
            self._closed = self._loop.create_future()
            self._finalizer.detach()
            try:
                await self._upkeep.close()
                await asyncio.shield(
                    self._loop.run_in_executor(None, closing.shut, self._writer, self._pool, self._lock)
                )
            finally:
                self._bell.close()
                self._closed.set_result(None)
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _host(self) -> Host:
        return Host(self.run, self._enqueue, self._applier.sealer)

    def _committed(self) -> None:
        self._bell.ring()
        if self._applier.sealer.wanting and self._closed is None:
            self._upkeep.wake(self._host())

    async def _write(self, script: Script, within: float | None) -> Result:
        refuse_within()
        result: Result = await outcome(self._enqueue(script), script.hold, within)
        return result

    def _enqueue(self, work: Work) -> asyncio.Future[Any]:
        """Queue work; what one turn of the event loop queues goes to the writer in one piece."""
        self._check()
        future = self._loop.create_future()
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(Ticket(work, future))
        return future

    def _enlist(self, conversation: Conversation) -> None:
        self._check()
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(Ticket(conversation, conversation.started))

    def _flush(self) -> None:
        if self._pending:
            self._writer.put(self._pending)
            self._pending = []

    def _check(self) -> None:
        if self._closed is not None:
            raise UnavailableError("the store is closed")
        try:
            ours = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            ours = False
        if not ours:
            raise ValidationError("this store belongs to the event loop that opened it; other threads have db.read()")


def _settle(future: asyncio.Future[Any], result: Any, error: GhostwireError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _notice(store: weakref.ref[Access]) -> None:
    """On the loop, after each group of commits."""
    if (there := store()) is not None:
        there._committed()


def ignore(_error: DatabaseError) -> None:
    """Without a callback, every later write still raises the error."""
