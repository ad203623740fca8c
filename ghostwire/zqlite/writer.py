"""The one thread that writes: it takes what is queued, commits it as one group, then answers everyone at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

import apsw

from ghostwire.errors import DatabaseError, GhostwireError, InternalError, UnavailableError
from ghostwire.zqlite import engine, faults
from ghostwire.zqlite.conversation import Conversation
from ghostwire.zqlite.operation import Operation, Script

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from ghostwire.zqlite.applier import Applier
    from ghostwire.zqlite.watch import Watch

GROUP_OPERATIONS: Final = 512
GROUP_SECONDS: Final = 0.002
DETACHED_OPERATIONS: Final = 32
"""So many are handed over at a time: each that is handed back has the others read again."""
CHECKPOINT_PAGES: Final = 1024
"""4 MiB of log: moved into the file at the next quiet moment."""
CHECKPOINT_NOW_PAGES: Final = 4096
"""16 MiB of log: moved into the file even while writers wait, or it would grow without end."""
QUIET_SECONDS: Final = 0.02
IDLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Errand:
    """Something done between commits, by the writer's thread, with nothing open.

    What does not write the log (`logs` is false) is done also by a store that is fenced.
    """

    run: Callable[[Applier], Any]
    logs: bool = True


@dataclass(frozen=True, slots=True)
class Barrier:
    """Reached when all that was put before it is done."""

    reached: threading.Event


Work = Operation | Script | Conversation | Errand


_TOGETHER: Final = (Operation, Script)
"""What is committed as a group; the rest stands alone."""


class Ticket(NamedTuple):
    """A piece of work and whoever waits for it."""

    work: Work
    future: asyncio.Future[Any]


@dataclass(slots=True)
class WriterCounters:
    """Totals since the store was opened. `put` less `taken` waits in the queue; `busy_ns` is the thread's CPU time.

    `detached` of the `operations` were applied without the interpreter.
    """

    put: int = 0
    taken: int = 0
    operations: int = 0
    detached: int = 0
    refused: int = 0
    commits: int = 0
    checkpoints: int = 0
    checkpoint_ns: int = 0
    commit_ns: int = 0
    busy_ns: int = 0


class Gate(Protocol):
    """Holds answers back until what they rest on is elsewhere, too. Called on the event loop."""

    def hold(self, seq: int, deliver: Callable[[GhostwireError | None], None]) -> None:
        """Call `deliver` once all rows up to `seq` are, with an error where that takes too long."""


Answer = tuple["asyncio.Future[Any]", Any, GhostwireError | None]


class Writer:
    """Owns the writing connection. `put` hands work over; the answers come back on the event loop."""

    def __init__(
        self,
        applier: Applier,
        loop: asyncio.AbstractEventLoop,
        on_commit: Callable[[], None],
        on_fatal: Callable[[DatabaseError], None],
        watch: Watch,
    ) -> None:
        self.counters = WriterCounters()
        self._watch = watch
        self._told = 0
        self.fatal: DatabaseError | None = None
        self.fence: DatabaseError | None = None
        self.gate: Gate | None = None
        self._applier = applier
        self._loop = loop
        self._on_commit = on_commit
        self._on_fatal = on_fatal
        self._inbox: SimpleQueue[Sequence[Ticket | Barrier] | None] = SimpleQueue()
        self._log_pages = 0
        self._emptied = True
        applier.connection.set_wal_hook(self._logged)
        self._thread = threading.Thread(target=self._main, name="zqlite-writer", daemon=True)
        self._thread.start()

    def put(self, tickets: Sequence[Ticket | Barrier]) -> None:
        """Queue work. It is taken in order; each piece fails or succeeds alone."""
        self.counters.put += len(tickets)
        self._inbox.put(tickets)

    def drain(self) -> None:
        """Wait, in another thread than the writer's, until all that was queued before is done."""
        barrier = Barrier(threading.Event())
        self.put((barrier,))
        while not barrier.reached.wait(0.1) and self._thread.is_alive():
            pass

    def stop(self) -> None:
        """Let the thread end after what is queued, its connection closed. Anyone may call it, any number of times."""
        self._inbox.put(None)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _logged(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._log_pages = pages
        self._emptied = False
        return apsw.SQLITE_OK

    def _main(self) -> None:
        waiting: deque[Ticket | Barrier] = deque()
        try:
            while self._take(waiting):
                group = [waiting.popleft() for _ in range(min(len(waiting), GROUP_OPERATIONS))]
                self._run(group)
                self.counters.busy_ns = time.thread_time_ns()
        finally:
            self._finish()

    def _take(self, waiting: deque[Ticket | Barrier]) -> bool:
        """Fill `waiting` with all that is queued; wait if nothing is. False when the writer should end."""
        while True:
            try:
                while (handed := self._inbox.get_nowait()) is not None:
                    waiting.extend(handed)
                self._inbox.put(None)  # the end comes after all that was put before it
                return bool(waiting)
            except Empty:
                pass
            if waiting:
                if self._log_pages >= CHECKPOINT_NOW_PAGES:
                    self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
                return True
            try:
                first = self._inbox.get(timeout=self._patience())
            except Empty:
                self._quiet()
                continue
            if first is None:
                return False
            waiting.extend(first)

    def _patience(self) -> float | None:
        """How long to wait for work before a quiet moment is used to move the log into the file."""
        if self.fatal is not None or self._emptied:
            return None
        return QUIET_SECONDS if self._log_pages >= CHECKPOINT_PAGES else IDLE_SECONDS

    def _quiet(self) -> None:
        idle = self._log_pages < CHECKPOINT_PAGES
        self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE if idle else apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _checkpoint(self, mode: int) -> None:
        started = time.perf_counter_ns()
        try:
            engine.checkpoint(self._applier.connection, mode)
            self._emptied = mode == apsw.SQLITE_CHECKPOINT_TRUNCATE
        except apsw.BusyError:
            pass  # a reader still looks at old pages; the next quiet moment comes
        except apsw.FullError:
            pass  # the log keeps everything; writers hear of the full disk by themselves
        except apsw.Error as error:
            self._die(error)
        took = time.perf_counter_ns() - started
        self._watch.tell("checkpoint", took, count=self._log_pages)
        self._log_pages = 0
        self.counters.checkpoints += 1
        self.counters.checkpoint_ns += took

    def _run(self, group: list[Ticket | Barrier]) -> None:
        """Run a group in pieces: a conversation or an errand stands alone, whatever else is queued goes together."""
        self.counters.taken += len(group)
        piece: list[Ticket] = []
        for ticket in group:
            if isinstance(ticket, Ticket) and isinstance(ticket.work, _TOGETHER):
                piece.append(ticket)
                continue
            self._commit(piece)
            piece = []
            if isinstance(ticket, Barrier):
                ticket.reached.set()
            elif isinstance(ticket.work, Errand):
                self._answer([self._errand(ticket, ticket.work)])
            elif isinstance(ticket.work, Conversation):
                self._converse(ticket.work)
        self._commit(piece)

    def _commit(self, tickets: list[Ticket]) -> None:
        """Apply operations in one transaction and answer them, once it is on the disk."""
        while tickets:
            if self._stopped is not None:
                self._answer([(ticket.future, None, self._refusal()) for ticket in tickets])
                return
            done, tickets = self._group(tickets)
            self._answer(done)

    def _group(self, tickets: list[Ticket]) -> tuple[list[Answer], list[Ticket]]:
        """One transaction. The answers, and the tickets that it had no time for."""
        applier = self._applier
        mark = applier.mark()
        done: list[Answer] = []
        deadline = time.monotonic() + GROUP_SECONDS
        taken = 0
        try:
            while taken < len(tickets):
                before, taken = taken, min(taken + DETACHED_OPERATIONS, len(tickets))
                done += self._together(tickets[before:taken])
                if not applier.connection.in_transaction:
                    applier.own("BEGIN IMMEDIATE")
                if len(done) == before:
                    done.append(self._apply(tickets[before]))
                taken = len(done)
                if not applier.connection.in_transaction:
                    raise _Lost(done[-1][2])
                if self.fatal is not None or (time.monotonic() > deadline and not self._inbox.empty()):
                    break
            self._end(applier)
        except Exception as error:
            self._abandon(applier, mark)
            return self._again(tickets[:taken], done, error), tickets[taken:]
        return done, tickets[taken:]

    def _together(self, tickets: list[Ticket]) -> list[Answer]:
        """Apply operations without the interpreter, from the first on, for as long as they are known and usual."""
        operations = [ticket.work for ticket in takewhile(lambda ticket: isinstance(ticket.work, Operation), tickets)]
        if not operations:
            return []
        done = self._applier.together(cast("list[Operation]", operations), GROUP_SECONDS)
        self.counters.operations += len(done)
        self.counters.detached += len(done)
        alert = self._watch.alert
        answers: list[Answer] = []
        for ticket, (record, took) in zip(tickets, done, strict=False):
            answers.append((ticket.future, record, None))
            if took > alert:
                self._watch.tell("query", took, record.kind)
        return answers

    def _apply(self, ticket: Ticket) -> Answer:
        work = ticket.work
        started = time.perf_counter_ns()
        try:
            self.counters.operations += 1
            if isinstance(work, Operation):
                return ticket.future, self._applier.submit(work), None
            assert isinstance(work, Script)  # noqa: S101 (the others never come here)
            return ticket.future, self._applier.script(work), None
        except GhostwireError as error:
            self.counters.refused += 1
            if error.__cause__ is not None and faults.is_fatal(error.__cause__):
                self._die(error.__cause__)
                raise
            return ticket.future, None, error
        finally:
            if (took := time.perf_counter_ns() - started) > self._watch.alert:
                self._watch.tell("query", took, getattr(work, "sql", "") or getattr(work, "kind", ""))

    def _end(self, applier: Applier) -> None:
        started = time.perf_counter_ns()
        applier.commit()
        took = time.perf_counter_ns() - started
        self.counters.commit_ns += took
        self.counters.commits += 1
        self._watch.tell("commit", took, count=self.counters.operations - self._told)
        self._told = self.counters.operations

    def _abandon(self, applier: Applier, mark: Any) -> None:
        try:
            if applier.connection.in_transaction:
                applier.own("ROLLBACK")
        except apsw.Error as error:
            self._die(error)
        applier.restore(mark)

    def _again(self, tickets: list[Ticket], done: list[Answer], error: Exception) -> list[Answer]:
        """A transaction was lost as a whole. Whoever was refused stays refused; the others are tried alone."""
        if isinstance(error, _Lost):
            error = error.cause
        if faults.is_fatal(error):
            self._die(error)
        if self.fatal is not None:
            return [(ticket.future, None, self._refusal()) for ticket in tickets]
        if len(tickets) == 1:
            return [(tickets[0].future, None, faults.translate(error))]
        answers: list[Answer] = []
        refused = {id(answer[0]): answer for answer in done if answer[2] is not None}
        for ticket in tickets:
            if (answer := refused.get(id(ticket.future))) is not None:
                answers.append(answer)
            elif self.fatal is not None:
                answers.append((ticket.future, None, self._refusal()))
            else:
                answers += self._group([ticket])[0]
        return answers

    def _errand(self, ticket: Ticket, errand: Errand) -> Answer:
        if self.fatal is not None or (errand.logs and self.fence is not None):
            return ticket.future, None, self._refusal()
        try:
            return ticket.future, errand.run(self._applier), None
        except Exception as error:
            if faults.is_fatal(error):
                self._die(error)
            return ticket.future, None, faults.translate(error)

    def _converse(self, conversation: Conversation) -> None:
        if self._stopped is not None:
            conversation.close([], self._refusal(), self._answer)
            return
        applier = self._applier
        mark = applier.mark()
        self.counters.operations += 1
        try:
            applier.own("BEGIN IMMEDIATE")
            records = conversation.hold(applier, self._answer)
            if records is None:
                self._abandon(applier, mark)
            else:
                self._end(applier)
        except Exception as error:
            self._abandon(applier, mark)
            self.counters.refused += 1
            if faults.is_fatal(error) or (error.__cause__ is not None and faults.is_fatal(error.__cause__)):
                self._die(error)
            conversation.close([], self.fatal or applier.explain(error), self._answer)
            return
        conversation.close(records or [], None, self._answer)

    @property
    def _stopped(self) -> DatabaseError | None:
        """Why nothing may be written: the disk failed, or another copy of the store is ahead."""
        return self.fatal or self.fence

    def _refusal(self) -> DatabaseError:
        stopped = self._stopped
        assert stopped is not None  # noqa: S101 (asked by every caller)
        return DatabaseError(stopped.message)

    def _die(self, error: BaseException) -> None:
        """After this nobody knows what the disk holds. Write nothing more, not even on close."""
        if self.fatal is not None:
            return
        self.fatal = DatabaseError(
            f"the store stopped writing after a disk error ({error}): stop, check the disk, start again; "
            "what was acknowledged is in the file and its log"
        )
        with contextlib.suppress(apsw.Error):  # closing without it is only slower to recover
            engine.forbid_checkpoint(self._applier.connection)
        self._call(self._on_fatal, self.fatal)

    def _answer(self, answers: list[Answer]) -> None:
        if answers:
            self._call(self._resolve, answers, self._applier.head.seq)

    def _resolve(self, answers: list[Answer], seq: int) -> None:
        """On the loop: the one wake-up of a group. What was committed up to row `seq` is what they rest on."""
        self._on_commit()
        if self.gate is None:
            self._deliver(answers, None)
        else:
            self.gate.hold(seq, lambda error: self._deliver(answers, error))

    def _deliver(self, answers: list[Answer], unconfirmed: GhostwireError | None) -> None:
        for future, value, error in answers:
            if future.done():
                continue  # its caller was cancelled; what it asked for has happened all the same
            error = error or unconfirmed
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _finish(self) -> None:
        """Refuse what is still queued and close the connection, which moves the log into the file."""
        closed = UnavailableError("the store is closed")
        late: list[Answer] = []
        with contextlib.suppress(Empty):
            while True:
                handed = self._inbox.get_nowait() or ()
                late += [(ticket.future, None, closed) for ticket in handed if isinstance(ticket, Ticket)]
        self._answer(late)
        self._applier.close()


class _Lost(Exception):  # noqa: N818 (never leaves this file)
    """SQLite took the whole transaction back while it ran one operation."""

    def __init__(self, cause: GhostwireError | None) -> None:
        super().__init__()
        self.cause: Exception = cause or InternalError("the transaction ended by itself")
