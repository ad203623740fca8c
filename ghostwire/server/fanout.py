"""Sends to live sessions: encoded once, in order, a few a turn of the event loop, waiting for nobody.

Everything the coordinator pushes goes through one queue, so a session gets its frames in the order in which they were
decided. A turn makes at most `CHUNK` sends: more would hold up every other request for the whole broadcast.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from pyroaring import BitMap

from ghostwire.coordinator.effects import CloseSession, Push, Send
from ghostwire.server.session.frames import frame
from ghostwire.server.status import WorkersStatus
from ghostwire.wire.packing import pack_message

TAKE_S: Final = 2.0
"""How long a session may leave unread that something was taken from it; then it is closed."""
CHUNK: Final = 16
"""Sends a turn: about 150 us of them."""


class Live(Protocol):
    """A live session as the fan-out sees it. `opened_at` is the fan-out's to set."""

    node: int
    slot: int
    session: int
    opened_at: int

    @property
    def packs(self) -> bool:
        """Whether its node reads packed messages."""

    @property
    def slow(self) -> bool:
        """Whether something waits for its node to read."""

    def push(self, framed: bytes) -> bool:
        """Send one broadcast frame; False where the session is behind and will be sent its whole map instead."""

    def deliver(self, frames: Iterable[bytes]) -> None:
        """Send messages of the session's own, which bring it up to date if it was behind."""

    def end(self, code: str, reason: str) -> None:
        """Refuse whatever follows, and close."""

    def replaced(self) -> None:
        """A newer connection of the same node has taken over."""


class _Broadcast:
    __slots__ = ("_packed", "framed", "message", "number", "slots", "urgent")

    def __init__(self, number: int, message: bytes, slots: Iterator[int], urgent: bool) -> None:
        self.number, self.message, self.slots, self.urgent = number, message, slots, urgent
        self.framed = frame(message)
        self._packed: bytes | None = None

    def framed_for(self, live: Live) -> bytes:
        """The message as this session's node reads it. It is packed once for all who read it so."""
        if not live.packs:
            return self.framed
        if self._packed is None:
            self._packed = frame(pack_message(self.message))
        return self._packed


class _Own:
    __slots__ = ("frames", "live")

    def __init__(self, frames: Iterable[bytes], live: Live) -> None:
        self.frames, self.live = frames, live


class _Marker:
    __slots__ = ("then",)

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = then


class Fanout:
    """The live sessions by slot, and what is on its way to them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_slot: dict[int, Live] = {}
        self._by_node: dict[int, Live] = {}
        self._slots = BitMap()
        self._jobs: deque[_Broadcast | _Own | _Marker] = deque()
        self._number = 0
        self._turn = 0
        self._pumping = False
        self._owing: dict[Live, int] = {}
        self.sent = 0
        self.skipped = 0

    def __len__(self) -> int:
        return len(self._by_slot)

    @property
    def depth(self) -> int:
        """Pushes and sends that are not yet done."""
        return len(self._jobs)

    def workers(self) -> WorkersStatus:
        """None: every session is in this process."""
        return WorkersStatus()

    def sessions(self) -> list[Live]:
        """Every live session."""
        return list(self._by_slot.values())

    def find(self, node: int, session: int) -> Live | None:
        """The live session with this number."""
        live = self._by_node.get(node)
        return live if live is not None and live.session == session else None

    def at(self, node: int) -> Live | None:
        """A node's live session."""
        return self._by_node.get(node)

    def attach(self, live: Live) -> Live | None:
        """A session stands, its map sent: what was pushed before is in it already. Returns the one it replaces."""
        before = self._by_node.get(live.node)
        if before is not None:
            self.detach(before)
        live.opened_at = self._number
        self._by_slot[live.slot] = self._by_node[live.node] = live
        self._slots.add(live.slot)
        return before

    def detach(self, live: Live) -> None:
        """The session is gone; nothing happens if another has taken its place."""
        self._owing.pop(live, None)
        if self._by_slot.get(live.slot) is live:
            del self._by_slot[live.slot]
            self._slots.discard(live.slot)
        if self._by_node.get(live.node) is live:
            del self._by_node[live.node]

    def push(self, effect: Push) -> None:
        """Send a broadcast to those of its slots that have a session now."""
        slots = effect.slots & self._slots
        if slots:
            self._number += 1
            self._add(_Broadcast(self._number, effect.frame, iter(slots), effect.urgent))

    def deliver(self, effect: Send) -> None:
        """Send to the session that is named, if it still lives."""
        live = self.find(effect.node, effect.session)
        if live is not None:
            self.send(effect.frames, live)

    def send(self, frames: Iterable[bytes], live: Live) -> None:
        """Send to one session, after everything that was pushed before."""
        if self._jobs:
            self._add(_Own(frames, live))
        else:
            live.deliver(frames)

    def close(self, effect: CloseSession) -> None:
        """End the session that is named, at once."""
        live = self.find(effect.node, effect.session)
        if live is not None:
            live.end(effect.code, effect.reason)

    def tell_some(self, frame: bytes, count: int) -> None:
        """Send one message to so many sessions, to others each time."""
        sessions = self.sessions()
        for at in range(min(count, len(sessions))):
            self.send((frame,), sessions[(self._turn + at) % len(sessions)])
        self._turn += count

    def taken(self, live: Live) -> None:
        """A session's node has read everything."""
        self._owing.pop(live, None)

    def settled(self, then: Callable[[], None]) -> None:
        """Call `then` once everything that was pushed before has been handed to its sessions."""
        if self._jobs:
            self._add(_Marker(then))
        else:
            then()

    def _add(self, job: _Broadcast | _Own | _Marker) -> None:
        self._jobs.append(job)
        if not self._pumping:
            self._pumping = True
            self._pump()

    def _pump(self) -> None:
        left = CHUNK
        while left and self._jobs:
            job = self._jobs[0]
            if isinstance(job, _Broadcast):
                left = self._broadcast(job, left)
                continue
            self._jobs.popleft()
            left -= 1
            if isinstance(job, _Marker):
                job.then()
            elif self._by_slot.get(job.live.slot) is job.live:
                job.live.deliver(job.frames)
        if self._jobs:
            self._loop.call_soon(self._pump)
        else:
            self._pumping = False

    def _broadcast(self, job: _Broadcast, left: int) -> int:
        for slot in job.slots:
            live = self._by_slot.get(slot)
            if live is not None and live.opened_at < job.number:
                if live.push(job.framed_for(live)):
                    self.sent += 1
                else:
                    self.skipped += 1
                if job.urgent and live.slow and live not in self._owing:
                    self._owing[live] = job.number
                    self._loop.call_later(TAKE_S, self._overdue, live, job.number)
            left -= 1
            if not left:
                return 0
        self._jobs.popleft()
        return left

    def _overdue(self, live: Live, number: int) -> None:
        if self._owing.get(live) == number:
            del self._owing[live]
            live.end("unavailable", f"what this node may not see any more was left unread for {TAKE_S:g} s")
