"""A transaction that its caller steers from the event loop, one statement at a time, while the writer waits for it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ghostwire.errors import GhostwireError, UnavailableError
from ghostwire.zqlite import faults
from ghostwire.zqlite.operation import Patch, Script

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ghostwire.model.change import ChangeRecord
    from ghostwire.zqlite.applier import Applier

    Answer = tuple[asyncio.Future[Any], Any, GhostwireError | None]
    Send = Callable[[list[Answer]], None]


@dataclass(frozen=True, slots=True)
class Note:
    """An event of the application, to be logged after the transaction's rows. `body` is encoded for the log."""

    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The last line of a conversation."""

    commit: bool


Line = Script | Patch | Note | End


class Conversation:
    """Both ends: the loop `say`s lines, the writer `hold`s the transaction until the last one.

    `started` resolves when the writer has begun; `ended` with the transaction's rows of the log, once on disk.
    """

    def __init__(
        self, started: asyncio.Future[None], ended: asyncio.Future[Any], actor: str, kind: str, patience: float
    ) -> None:
        self.started = started
        self.ended = ended
        self._actor = actor
        self._kind = kind
        self._patience = patience
        self._lines: SimpleQueue[tuple[Line, asyncio.Future[Any] | None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed: GhostwireError | None = None

    def say(self, line: Line, answer: asyncio.Future[Any] | None) -> None:
        """From the loop: the next line. A line whose answer nobody waits for has none."""
        with self._lock:
            if self._closed is None:
                self._lines.put((line, answer))
                return
        if answer is not None:
            answer.set_exception(self._closed)

    def hold(self, applier: Applier, send: Send) -> list[ChangeRecord] | None:
        """From the writer: run the transaction. None when it is to be rolled back.

        Raises UnavailableError when the caller stays silent for longer than its patience.
        """
        applier.begin()
        send([(self.started, None, None)])
        notes: list[Note] = []
        while True:
            line, answer = self._next()
            if isinstance(line, End):
                return self._close(applier, notes) if line.commit else None
            if isinstance(line, Note):
                notes.append(line)
                continue
            self._script(applier, line, answer, send)

    def close(self, records: list[ChangeRecord], error: GhostwireError | None, send: Send) -> None:
        """From the writer: the transaction is over. Whatever else was said, or will be, is told so."""
        over = error or UnavailableError("the transaction is over")
        late: list[Answer] = [(self.started, None, over), (self.ended, records, error)]
        with self._lock:
            self._closed = over
            with contextlib.suppress(Empty):
                while True:
                    _, answer = self._lines.get_nowait()
                    if answer is not None:
                        late.append((answer, None, over))
        send(late)

    def _next(self) -> tuple[Line, asyncio.Future[Any] | None]:
        try:
            return self._lines.get(timeout=self._patience)
        except Empty:
            raise UnavailableError(
                f"the transaction said nothing for {self._patience:g} s while every other writer waited; "
                "it was rolled back"
            ) from None

    def _script(self, applier: Applier, script: Script | Patch, answer: asyncio.Future[Any] | None, send: Send) -> None:
        result, refused = None, None
        try:
            result = applier.attempt(script)
        except GhostwireError as error:
            refused = error
        if answer is not None:
            send([(answer, result, refused)])
        if refused is not None and (
            not applier.connection.in_transaction
            or (refused.__cause__ is not None and faults.is_fatal(refused.__cause__))
        ):
            raise refused

    def _close(self, applier: Applier, notes: list[Note]) -> list[ChangeRecord]:
        records = [applier.close_rows(self._kind or applier.label(), self._actor)] if applier.wrote else []
        records += [applier.append(note.kind, self._actor, note.body) for note in notes]
        applier.own("RELEASE op")
        return records
