"""Sends to live sessions: encoded once, in order, a little each turn of the event loop, waiting for nobody.

Everything the coordinator pushes goes through one queue, so a session gets its frames in the order in which they were
decided. A turn lasts `TURN_S`, and asks at most `CHUNK` sessions that no compiled code writes to: more would hold up
every other request for the whole broadcast.

Whole maps that may wait are dear, and there may be one for everybody. Their sessions are put aside: broadcasts pass
them over until their turn comes, since their map will hold what is in them. Each turn of the loop brings a few back.
Where one of those broadcasts took something away, the map is to be read as soon as that was.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from pyroaring import BitMap

from ghostwire._native import fanout
from ghostwire.coordinator.effects import CloseSession, Push, Send
from ghostwire.server.session.frames import frame
from ghostwire.server.status import WorkersStatus
from ghostwire.wire.packing import pack_message

TAKE_S: Final = 2.0
"""How long a session may leave unread that something was taken from it; then it is closed."""
TURN_S: Final = 0.0003
"""How long one turn sends: what a query waits for at most, beside others of its kind."""
REST_S: Final = 0.001
"""Between two turns of what may wait. Every worker is told of a window's end at once: without rests they would have the
processors to themselves until all nodes know, and whoever asks would wait for one of them."""
LATE_S: Final = 0.05
"""What waits longer is sent without rests."""
CHUNK: Final = 16
"""Sessions that one turn asks to send by themselves, behind TLS for instance."""


class Live(Protocol):
    """A live session as the fan-out sees it. `opened_at` is the fan-out's to set."""

    node: int
    slot: int
    session: int
    opened_at: int

    @property
    def outlet(self) -> fanout.Outlet:
        """Where broadcasts go, unless it is held."""

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
    """One message for those of `slots` from place `at` on; packed once, for all who read it so.

    It `presses` where it is urgent: what is to be done soon does not wait for others to have their turn.
    """

    __slots__ = ("at", "number", "packed", "plain", "presses", "since", "slots")

    def __init__(self, number: int, message: bytes, slots: array[int], *, packs: bool, presses: bool) -> None:
        self.number, self.slots, self.presses = number, slots, presses
        self.at = 0
        self.since = time.monotonic()
        self.plain = frame(message)
        self.packed = frame(pack_message(message)) if packs else self.plain


class _Own:
    __slots__ = ("frames", "live")
    presses = True

    def __init__(self, frames: Iterable[bytes], live: Live) -> None:
        self.frames, self.live = frames, live


class _Whole(_Own):
    """Frames that hold everything, made when their turn comes."""

    __slots__ = ()


class _Marker:
    __slots__ = ("then",)
    presses = True

    def __init__(self, then: Callable[[], None]) -> None:
        self.then = then


class Fanout:
    """The live sessions by slot, and what is on its way to them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._audience = fanout.Audience()
        self._by_slot: dict[int, Live] = {}
        self._by_node: dict[int, Live] = {}
        self._slots = BitMap()
        self._jobs: deque[_Broadcast | _Own | _Marker] = deque()
        self._aside: deque[_Whole | _Marker] = deque()
        self._passed_over: set[Live] = set()
        self._awaited = BitMap()  # slots whose whole map has not had its turn
        self._missed = BitMap()  # those of them that a removal was for
        self._number = 0
        self._turn = 0
        self._pumping = False
        self._pressing = 0
        self._owing: dict[Live, asyncio.TimerHandle] = {}
        self.sent = 0
        self.skipped = 0

    def __len__(self) -> int:
        return len(self._by_slot)

    @property
    def depth(self) -> int:
        """Pushes and sends that are not yet done."""
        return len(self._jobs) + len(self._aside)

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
        self._by_slot[live.slot] = self._by_node[live.node] = live
        self._join(live)
        return before

    def detach(self, live: Live) -> None:
        """The session is gone; nothing happens if another has taken its place."""
        self.taken(live)
        self._passed_over.discard(live)
        if self._by_slot.get(live.slot) is live:
            del self._by_slot[live.slot]
            self._slots.discard(live.slot)
            self._awaited.discard(live.slot)
            self._missed.discard(live.slot)
            self._audience.drop(live.slot)
        if self._by_node.get(live.node) is live:
            del self._by_node[live.node]

    def push(self, effect: Push) -> None:
        """Send a broadcast to those of its slots that have a session now."""
        if effect.urgent:
            self._missed |= effect.slots & self._awaited
        slots = effect.slots & self._slots
        if slots:
            self._number += 1
            packs = self._audience.packs
            self._add(_Broadcast(self._number, effect.frame, slots.to_array(), packs=packs, presses=effect.urgent))

    def deliver(self, effect: Send) -> None:
        """Send to the session that is named, if it still lives."""
        live = self.find(effect.node, effect.session)
        if live is None:
            return
        if not effect.waits:
            self.send(effect.frames, live)
        elif live.slot not in self._awaited:
            self._awaited.add(live.slot)
            self._add(_Whole(effect.frames, live))

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
        timer = self._owing.pop(live, None)
        if timer is not None:
            timer.cancel()

    def settled(self, then: Callable[[], None]) -> None:
        """Call `then` once everything that was pushed before has been handed to its sessions."""
        if self.depth:
            self._add(_Marker(then))
        else:
            then()

    def _add(self, job: _Broadcast | _Own | _Marker) -> None:
        self._jobs.append(job)
        self._pressing += job.presses
        if not self._pumping:
            self._pumping = True
            self._pump()

    def _pump(self) -> None:
        try:
            self._send_some()
        finally:
            if not self.depth:
                self._pumping = False
            elif self._may_rest():
                self._loop.call_later(REST_S, self._pump)
            else:
                self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        try:
            self._bring_some_back()
        finally:
            self._pump()

    def _send_some(self) -> None:
        until = time.monotonic() + TURN_S
        left = CHUNK
        while self._jobs and left > 0 and (rest := until - time.monotonic()) > 0:
            job = self._jobs[0]
            if isinstance(job, _Broadcast):
                left -= self._tell(job, rest, left)
                if job.at == len(job.slots):
                    self._done()
                continue
            self._done()
            left -= 1
            if isinstance(job, _Marker):
                self._reach(job)
            elif isinstance(job, _Whole):
                self._put_aside(job)
            elif self._by_slot.get(job.live.slot) is job.live:
                job.live.deliver(job.frames)

    def _done(self) -> None:
        self._pressing -= self._jobs.popleft().presses

    def _reach(self, marker: _Marker) -> None:
        if self._aside:
            self._aside.append(marker)
        else:
            marker.then()

    def _join(self, live: Live) -> None:
        """Whatever is pushed from now on is for this session too; its map holds what was pushed before."""
        live.opened_at = self._number
        self._slots.add(live.slot)
        self._awaited.discard(live.slot)
        self._missed.discard(live.slot)
        self._audience.put(live.slot, live.outlet, self._number + 1, live.packs)

    def _put_aside(self, job: _Whole) -> None:
        live = job.live
        if self._by_slot.get(live.slot) is live:
            self._passed_over.add(live)
            self._slots.discard(live.slot)
            self._audience.drop(live.slot)
            self._aside.append(job)

    def _bring_some_back(self) -> None:
        until = time.monotonic() + TURN_S
        while self._aside and time.monotonic() < until:
            job = self._aside.popleft()
            if isinstance(job, _Marker):
                job.then()
            elif job.live in self._passed_over:
                self._bring_back(job)

    def _bring_back(self, job: _Whole) -> None:
        live = job.live
        missed = live.slot in self._missed
        self._passed_over.discard(live)
        self._join(live)
        live.deliver(job.frames)
        if missed:
            self._owe(live)

    def _may_rest(self) -> bool:
        """Whether nobody waits for what is left, or has waited for long."""
        if self._aside:
            return False
        first = self._jobs[0]
        return isinstance(first, _Broadcast) and not self._pressing and time.monotonic() - first.since < LATE_S

    def _tell(self, job: _Broadcast, seconds: float, most: int) -> int:
        """Go on with a broadcast for so long; how many sessions, of `most`, had to send by themselves."""
        began = job.at
        job.at, told, left = self._audience.tell(job.slots, began, job.number, job.plain, job.packed, seconds, most)
        self.sent += told
        for slot in left:
            live = self._by_slot.get(slot)
            if live is None:
                continue
            if live.push(job.packed if live.packs else job.plain):
                self.sent += 1
            else:
                self.skipped += 1
        if job.presses:
            self._watch(job, began)
        return len(left)

    def _watch(self, job: _Broadcast, began: int) -> None:
        """See that those who were just told take it soon."""
        for slot in job.slots[began : job.at]:
            live = self._by_slot.get(slot)
            if live is not None and live.opened_at < job.number:
                self._owe(live)

    def _owe(self, live: Live) -> None:
        if live.slow and live not in self._owing:
            self._owing[live] = self._loop.call_later(TAKE_S, self._overdue, live)

    def _overdue(self, live: Live) -> None:
        del self._owing[live]
        live.end("unavailable", f"what this node may not see any more was left unread for {TAKE_S:g} s")
