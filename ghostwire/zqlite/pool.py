"""Read connections: few when little is read, up to a bound when much is; every wait, time-out and leak is counted."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import apsw

from ghostwire.errors import DatabaseError, GhostwireError, InternalError, UnavailableError, ValidationError
from ghostwire.zqlite import engine, faults
from ghostwire.zqlite.reader import Reader
from ghostwire.zqlite.watch import SILENT, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST: Final = 4
MOST: Final = 64
IDLE_NS: Final = 30 * 1_000_000_000
"""A connection that lay idle for longer is tried before it is given out."""


@dataclass(slots=True)
class PoolCounters:
    """Plain totals since the store was opened; `open` and `busy` are the connections of this moment."""

    open: int = 0
    busy: int = 0
    taken: int = 0
    waits: int = 0
    wait_ns: int = 0
    timeouts: int = 0
    leaks: int = 0
    broken: int = 0


class Job:
    """A read transaction on a connection of the pool, in one of its threads. `cancel` interrupts it where it is."""

    def __init__(self, run: Callable[[Reader], Any], done: Callable[[Any, GhostwireError | None], None]) -> None:
        self._run = run
        self._done = done
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """From any thread. A job that has ended is left alone, and so is whoever has its connection by now."""
        with self._lock:
            self._cancelled = True
            if self._reader is not None:
                self._reader.interrupt()

    def perform(self, pool: Pool) -> None:
        """From a thread of the pool."""
        result, refused = None, None
        try:
            reader = pool.acquire()
        except Exception as error:
            self._done(None, faults.translate(error))
            return
        try:
            reader.begin()  # which would forget an interruption
            with self._lock:
                if self._cancelled:
                    return
                self._reader = reader
            result = self._run(reader)
        except Exception as error:
            refused = reader.explain(error)
        except BaseException as error:  # a panic, which is no Exception: who asked is told, and this thread goes on
            refused = InternalError(f"the read could not be done: {error!r}")
        finally:
            with self._lock:
                self._reader = None
            pool.release(reader)
        self._done(result, refused)


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """The least and most connections of a pool. Raises ValidationError for what no pool has."""
    least, most = size
    if not 1 <= least <= most <= MOST:
        raise ValidationError(f"a pool has 1 to {MOST} connections, at least {least} and at most {most} were asked for")
    return size


class Pool:
    """Between `least` and `most` read connections, opened as they are needed. The newest one free is given first."""

    def __init__(
        self,
        location: engine.Location,
        prepare: Callable[[apsw.Connection], None],
        size: tuple[int, int],
        timeout: float,
        watch: Watch = SILENT,
    ) -> None:
        least, most = check_size(size)
        self.counters = PoolCounters()
        self._location = location
        self._prepare = prepare
        self._watch = watch
        self._least = least
        self._most = most
        self._timeout = timeout
        self._free: list[Reader] = []
        self._all: set[Reader] = set()
        self._status: dict[tuple[Reader, int], int] = {}
        self._since: dict[Reader, int] = {}
        self._state = threading.Condition()
        self._closed = False
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = 0
        self._spare = 0  # threads that wait for a job, less the jobs that wait for a thread
        try:
            for _ in range(least):
                self._free.append(self._open())
        except BaseException:
            self.close()
            raise

    def submit(self, job: Job) -> None:
        """Have a thread of the pool run `job`."""
        with self._state:
            if self._closed:
                raise UnavailableError("the store is closed")
            if self._spare < 1 and self._threads < self._most:
                threading.Thread(target=self._serve, name=f"zqlite-reader-{self._threads + 1}", daemon=True).start()
                self._threads += 1  # only now: one that could not be started serves nobody
            self._jobs.put(job)
            self._spare -= 1

    def acquire(self) -> Reader:
        """A connection for this thread alone. Raises UnavailableError when none comes free in time."""
        counters = self.counters
        with self._state:
            counters.taken += 1
            if not self._free and counters.open >= self._most:
                self._wait()
            if self._closed:
                raise UnavailableError("the store is closed")
            counters.busy += 1
            try:
                reader = self._healthy() or self._open()
            except BaseException:
                counters.busy -= 1
                raise
            self._since[reader] = time.monotonic_ns()
            return reader

    def release(self, reader: Reader) -> None:
        """Give a connection back. One that fails to end its transaction is thrown away and counted as broken."""
        healthy = reader.reset()
        with self._state:
            self.counters.busy -= 1
            self._since[reader] = time.monotonic_ns()
            if healthy and not self._closed:
                self._free.append(reader)
            else:
                if not healthy:
                    self.counters.broken += 1
                self._drop(reader)
            self._state.notify()

    def close(self) -> None:
        """Close what is free; what is still in use is closed when it comes back, or counted as leaked after a wait."""
        with self._state:
            self._closed = True
            for _ in range(self._threads):
                self._jobs.put(None)
            while self._free:
                self._drop(self._free.pop())
            self._state.notify_all()
            if not self._state.wait_for(lambda: self.counters.busy == 0, timeout=self._timeout):
                self.counters.leaks += self.counters.busy

    def _wait(self) -> None:
        started = time.perf_counter_ns()
        self.counters.waits += 1
        came = self._state.wait_for(lambda: self._free or self._closed, timeout=self._timeout)
        self.counters.wait_ns += time.perf_counter_ns() - started
        if not came:
            self.counters.timeouts += 1
            raise UnavailableError(
                f"all {self._most} read connections were busy for {self._timeout:g} s: read less at once, or open the "
                "store with a bigger pool"
            )

    def _open(self) -> Reader:
        try:
            roomy = self.counters.open < self._least
            cache = engine.READER_CACHE_BYTES if roomy else engine.SPARE_CACHE_BYTES
            connection = engine.connect_reader(self._location, cache)
            self._prepare(connection)
            reader = Reader(connection, self._watch)
        except apsw.Error as error:
            raise faults.translate(error) from error
        except OSError as error:
            raise DatabaseError(f"cannot open another read connection: {error.strerror}") from error
        self.counters.open += 1
        self._all.add(reader)
        return reader

    def oldest(self) -> int:
        """For how long the connection that has been out longest has been so, in nanoseconds; it may be a leak."""
        with self._state:
            out = [since for reader, since in self._since.items() if reader not in self._free]
        return time.monotonic_ns() - min(out) if out else 0

    def status(self, what: int) -> int:
        """The sum of a counter of SQLite (`apsw.SQLITE_DBSTATUS_...`) over the open connections.

        Those that are out count as they were when they were last asked.
        """
        with self._state:
            for reader in self._free:
                self._status[reader, what] = reader.connection.status(what)[0]
            return sum(self._status.get((reader, what), 0) for reader in self._all)

    def _healthy(self) -> Reader | None:
        """A free connection, if there is one. Those that lay idle for long are tried first, and thrown away if bad."""
        while self._free:
            reader = self._free.pop()
            if time.monotonic_ns() - self._since.get(reader, 0) < IDLE_NS or reader.alive():
                return reader
            self.counters.broken += 1
            self._drop(reader)
        return None

    def _drop(self, reader: Reader) -> None:
        self._all.discard(reader)
        self._status = {key: value for key, value in self._status.items() if key[0] is not reader}
        self._since.pop(reader, None)
        self.counters.open -= 1
        with contextlib.suppress(apsw.Error):
            reader.close()

    def _serve(self) -> None:
        while True:
            with self._state:
                self._spare += 1
            job = self._jobs.get()
            if job is None:
                return
            job.perform(self)
            del job
