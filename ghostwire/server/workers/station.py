"""One worker as the leader sees it: its requests become commands, what the coordinator answers goes back."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.commands import AdoptSession, Command, HearNodes, ResyncNode, SessionClosed
from ghostwire.coordinator.effects import KeyRotated, MapFrom, SessionOpened
from ghostwire.coordinator.replica import Batch, encode_batch
from ghostwire.errors import GhostwireError, InternalError, NotFoundError
from ghostwire.server.port import PortCounts
from ghostwire.server.session.coordination import InProcess
from ghostwire.server.status import WorkerStatus
from ghostwire.server.workers.end import End
from ghostwire.server.workers.messages import (
    WORKER_BATCH,
    At,
    Beats,
    Claims,
    Close,
    Done,
    Mapped,
    Opened,
    Own,
    Refused,
    Rekeyed,
    Replicated,
    Report,
    Returned,
    Told,
)

UNTAKEN_BYTES: Final = 8 * 1024 * 1024
"""What may be on its way to a worker before its requests wait."""
SNAPSHOT_BYTES: Final = 1024 * 1024
"""The same while it is told what its replica begins with, which all workers of a leader that starts are at once."""
UNTAKEN_S: Final = 0.01
"""How long to wait until it is seen whether a worker has taken some of it."""
CHUNK: Final = 64
"""Requests that are looked at in one turn of the event loop."""


class Place(NamedTuple):
    """Where a node's live session is."""

    station: Station
    slot: int
    session: int


class Registry(Protocol):
    """What knows where every session is."""

    def place(self, station: Station, node: int, slot: int, session: int) -> None:
        """A node's session lives in this worker from now on."""

    def forget(self, node: int, session: int) -> Place | None:
        """A session is over; where it was, None where it was not."""

    def told(self, station: Station, number: int) -> None:
        """A worker has handed everything before a mark to its sessions."""


class Station:
    """One worker. `handle` is the descriptor of its process, `slots` those of the sessions that live there."""

    def __init__(self, registry: Registry, coordination: InProcess, own: bytes, pid: int, handle: int) -> None:
        self._registry, self._coordination = registry, coordination
        self.pid, self.handle = pid, handle
        self.slots = BitMap()
        self.counts = PortCounts()
        self.heard_at = 0.0
        self.end = End(own, self._batch, self._at)
        self._said: Any = None
        self._requests: deque[Any] = deque()
        self._working = False
        self._open = True
        self._behind: list[Any] | None = None
        self._pages: Iterator[Batch] | None = None
        self._loop = asyncio.get_running_loop()
        self._acts: dict[type[Any], Callable[[Any], None]] = {
            Beats: self._beats,
            Report: self._report,
            Told: lambda told: registry.told(self, told.number),
            Returned: self._returned,
            Claims: self._claims,
            SessionClosed: self._closed,
            ResyncNode: self._resync,
        }

    def status(self) -> WorkerStatus:
        """How it does."""
        return WorkerStatus(
            pid=self.pid, sessions=len(self.slots), connections=self.counts.connections, lag=self.end.link.lag
        )

    @property
    def begins(self) -> bool:
        """Whether its replica is still being told what it begins with."""
        return self._behind is not None

    def begin(self, snapshot: Iterator[Batch]) -> None:
        """Send a replica all that it begins with; what is said meanwhile follows behind."""
        self._behind, self._pages = [], snapshot
        self._snapshot(snapshot)

    def _snapshot(self, pages: Iterator[Batch]) -> None:
        if not self._open or self._behind is None or pages is not self._pages:
            return
        if self.end.link.kept_bytes > SNAPSHOT_BYTES:
            self._loop.call_later(UNTAKEN_S, self._snapshot, pages)
            return
        page = next(pages, None)
        if page is None:
            behind, self._behind = self._behind, None
            for message in behind:
                self.end.say(message)
            return
        self.end.say(Replicated(memoryview(encode_batch(page))))
        self.end.flush()  # what is still gathered is not counted
        self._loop.call_soon(self._snapshot, pages)

    def say(self, message: Any) -> None:
        """Tell the worker something, in order."""
        if self._behind is None:
            self.end.say(message)
        else:
            self._behind.append(message)

    def close(self) -> None:
        """Hear and say no more."""
        self._open = False
        self.end.cut("the worker is gone")
        os.close(self.handle)

    def lost(self, sessions: Iterable[tuple[int, int]]) -> None:
        """These sessions (node and number) ended with the worker."""
        self._requests = deque(
            SessionClosed(op=0, actor=f"node:{node}", node=node, session=session) for node, session in sessions
        )
        self._go_on()

    # What the worker says.

    def _batch(self, payload: bytes | memoryview) -> None:
        self.heard_at = self._coordination.clock().mono
        self._requests.extend(WORKER_BATCH.decode(payload))
        self._go_on()

    def _go_on(self) -> None:
        if not self._working and self._requests:
            self._working = True
            self._work()

    def _work(self) -> None:
        """Deal with some requests, unless what they lead to would wait for a worker that does not take it."""
        for _ in range(min(CHUNK, len(self._requests))):
            request = self._requests.popleft()
            try:
                self._acts.get(type(request), self._submit)(request)
            except Exception as error:
                self._loop.call_exception_handler({"message": "a worker's request failed", "exception": error})
                if isinstance(request, Command):
                    self._refuse(request.op, InternalError("the coordinator failed at this request"))
        if not self._requests:
            self._working = False
        elif self.end.link.kept_bytes > UNTAKEN_BYTES and self._open:
            self._loop.call_later(UNTAKEN_S, self._work)
        else:
            self._loop.call_soon(self._work)

    def _submit(self, command: Command) -> None:
        self._coordination.submit(lambda op: msgspec.structs.replace(command, op=op), partial(self._answer, command.op))

    def _answer(self, op: int, value: Any, error: GhostwireError | None) -> None:
        if error is not None:
            self._refuse(op, error)
        elif isinstance(value, SessionOpened):
            self._opened(op, value)
        elif isinstance(value, KeyRotated):
            self.say(Rekeyed(op, value.node, value.token))
        else:
            self.say(Done(op))

    def _opened(self, op: int, opened: SessionOpened) -> None:
        if not self._open:
            self._end_session(opened.node, opened.session)
            return
        self._registry.place(self, opened.node, opened.slot, opened.session)
        self._coordination.opened(opened)
        self.say(Opened(op, opened.node, opened.slot, opened.session, tuple(opened.frames), opened.left))

    def _refuse(self, op: int, error: GhostwireError) -> None:
        self.say(Refused(op, error.code, error.message, error.retry_after))

    def _beats(self, beats: Beats) -> None:
        self._coordination.submit(lambda op: HearNodes(op=op, actor="worker", beats=beats.beats), _unheard)

    def _report(self, report: Report) -> None:
        self.counts = report.counts

    def _returned(self, returned: Returned) -> None:
        self._coordination.returned(returned.signed, partial(self._answer, returned.op, None))

    def _resync(self, asked: ResyncNode) -> None:
        def answer(left: MapFrom, error: GhostwireError | None) -> None:
            if error is None:
                self.say(Mapped(asked.op, asked.node, left))
            else:
                self._refuse(asked.op, error)

        self._coordination.submit(lambda op: msgspec.structs.replace(asked, op=op), answer)

    def _closed(self, closed: SessionClosed) -> None:
        self._registry.forget(closed.node, closed.session)
        self._coordination.submit(lambda op: msgspec.structs.replace(closed, op=op), _unheard)

    def _end_session(self, node: int, session: int) -> None:
        self._coordination.submit(
            lambda op: SessionClosed(op=op, actor=f"node:{node}", node=node, session=session), _unheard
        )

    def _claims(self, claims: Claims) -> None:
        for node, session in claims.sessions:
            self._coordination.submit(
                lambda op, node=node, session=session: AdoptSession(  # type: ignore[misc]
                    op=op, actor=f"node:{node}", node=node, session=session, held=claims.held
                ),
                partial(self._adopted, node, session),
            )

    def _adopted(self, node: int, session: int, opened: SessionOpened | None, error: GhostwireError | None) -> None:
        if opened is None:
            error = error or NotFoundError("this session is over")
            self.say(Close(node, session, error.code, error.message))
            return
        self._registry.place(self, node, opened.slot, session)
        self._coordination.opened(opened)
        frames = tuple(opened.frames)
        if frames or opened.left is not None:
            self.say(Own(node, session, frames, opened.left))

    def _at(self) -> At | None:
        """Each batch ends with where the coordinator stands, where that is news."""
        position = self._coordination.position if self._behind is None else None
        if position is None or position is self._said:
            return None
        self._said = position
        return At(position)


def _unheard(value: Any, error: GhostwireError | None) -> None:
    return
