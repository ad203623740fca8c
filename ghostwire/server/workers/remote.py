"""Remote: the coordinator as a worker's sessions see it, at the other end of a link that may break.

While there is no leader, sessions stay, heartbeats are answered, and what nodes say of themselves is kept for the next
one; what only a leader can decide is refused with a time to come back. A leader that knows nothing of this worker is
told which sessions live here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.commands import Command, SessionClosed, SetEndpoints
from ghostwire.coordinator.conversations import check_endpoints
from ghostwire.coordinator.effects import CloseSession, KeyRotated, MapFrom, Push, SessionOpened
from ghostwire.errors import (
    GhostwireError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from ghostwire.model.beat import Beat
from ghostwire.model.position import Position
from ghostwire.server.errors import STATUS
from ghostwire.server.fanout import Fanout, Live
from ghostwire.server.listen import local
from ghostwire.server.port import PortCounts, World
from ghostwire.server.session.coordination import Answer, Heard
from ghostwire.server.workers.end import End, Stream
from ghostwire.server.workers.link import Greeting
from ghostwire.server.workers.messages import (
    BEAT_S,
    LEADER_BATCH,
    SILENT_S,
    At,
    Beats,
    Broadcast,
    Claims,
    Close,
    Done,
    Head,
    Mapped,
    Mark,
    Opened,
    Own,
    Refused,
    Rekeyed,
    Replaced,
    Replicated,
    Report,
    Returned,
    Told,
)
from ghostwire.server.workers.replication import Replication
from ghostwire.server.workers.stations import SOCKET
from ghostwire.wire.messages import Heartbeat, Query

DIAL_S: Final = 0.05
"""Between two attempts to reach the leader."""
FAULT_S: Final = 1.0
"""How long to wait where what it said could not be followed."""
TURN_S: Final = 0.0005
"""How long one turn of the event loop deals with what the leader says."""
BEATS_S: Final = 5.0
"""How long signs of life wait to be told together."""
CUT_S: Final = 1.0
"""How long a cut link may last before what nodes ask is refused rather than kept for the leader."""
_ERRORS: Final = {kind.code: kind for kind in reversed(STATUS)}


class Remote:
    """One worker's. `counts` says what it counts, whenever that is told."""

    def __init__(self, directory: Path, world: World, counts: Callable[[], PortCounts]) -> None:
        self._directory, self._world, self._counts = directory, world, counts
        self.clock = world.clock
        self._loop = asyncio.get_running_loop()
        self.fanout = Fanout(self._loop)
        self.replication = Replication()
        self.head: bytes | None = None
        self.reached = asyncio.Event()
        """Set while a leader is at the other end."""
        self._end = End(world.entropy(16), self._batch)
        self._heard: deque[Any] = deque()
        self._following = False
        self._held: Position | None = None
        self._pause_s = DIAL_S
        self._op = 0
        self._asked: dict[int, Answer] = {}
        self._beats: dict[int, Beat] = {}
        self._alive: dict[int, int] = {}  # the sessions of nodes that gave a sign of life and said nothing with it
        self._endpoints: dict[int, SetEndpoints] = {}
        self._announced: dict[int, SetEndpoints] = {}  # those that are on their way to a leader, by number
        self._heard_at = self._away_since = self.clock().mono
        self._beats_due = self._heard_at + BEATS_S
        self._acts: dict[type[Any], Callable[[Any], None]] = {
            Opened: self._opened,
            Done: lambda done: self._answered(done.op, None),
            Mapped: self._mapped,
            Replicated: self._replicated,
            Rekeyed: lambda new: self._answered(new.op, KeyRotated(node=new.node, token=new.token)),
            Refused: self._refused,
            Broadcast: self._broadcast,
            Own: self._own,
            Close: self._close,
            Replaced: self._replaced,
            Head: self._new_head,
            Mark: self._mark,
            At: self._at,
        }
        self._tasks = [self._loop.create_task(work) for work in (self._dial(), self._beat())]

    async def stop(self) -> None:
        """Say what is still to be said, and go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._tell_beats()
        self._end.flush()
        self._end.cut("the worker stops")
        self._refuse_all("the server stops")

    @property
    def stale(self) -> bool:
        """Whether what is answered may be old, because there is no leader."""
        return not self.reached.is_set()

    @property
    def away_s(self) -> float:
        """For how long there has been no leader; 0 while there is one."""
        return 0.0 if self.reached.is_set() else self.clock().mono - self._away_since

    # What sessions need of the coordinator.

    def submit(self, build: Callable[[int], Command], answer: Answer) -> None:
        """Hand in a command, made with the number by which it is answered."""
        self._op += 1
        command = build(self._op)
        if isinstance(command, SessionClosed):
            self._beats.pop(command.node, None)
            self._alive.pop(command.node, None)
            self.replication.forget(command.node)
            self._endpoints.pop(command.node, None)
            self._end.say(command)
            return
        self._ask(command, self._op, answer)

    def glance(self, live: Live, message: bytes, utc: int) -> bytes | None:
        """The frame that answers a usual heartbeat of a live session; None where there is more to it."""
        if live.node in self._beats:
            return None
        found = self.replication.usual.answer(message, live.node, live.slot, utc)
        if found is not None:
            self._alive[live.node] = live.session
        return found

    def heartbeat(self, node: int, session: int, heard: Heartbeat, answer: Answer) -> None:
        """A live session gave a sign of life: answered with the position that its map may move to, if to any."""
        live = self.fanout.find(node, session)
        if live is None:
            answer(None, NotFoundError("this session is over: open another one"))
            return
        self._keep(node, session, heard)
        found = self.replication.check(node, live.slot, heard, self.clock().mono)
        answer(found.position, None)
        if found.left is not None:
            self.fanout.send(self.replication.frames(live.slot, found.left), live)

    def _keep(self, node: int, session: int, heard: Heartbeat) -> None:
        """Keep a sign of life until they are told."""
        before = self._beats.get(node)
        if before is None and not (heard.metrics or heard.hits or heard.flows):
            self._alive[node] = session
            return
        beat = Beat(node, session, heard.metrics, heard.hits, heard.flows)
        self._beats[node] = beat if before is None else beat.after(before)
        self._alive.pop(node, None)

    def peers(self, live: Live, query: Query) -> tuple[bytes, ...]:
        """Peers of a live session's own view: their parts as in its map."""
        return self.replication.peers(live.slot, query)

    def announce(self, live: Live, endpoints: tuple[str, ...], heard: Heard) -> None:
        """Keep what a node says of itself until a leader has heard it, also where that is another one than now."""
        check_endpoints(endpoints)
        self._op += 1
        node = live.node
        command = SetEndpoints(op=self._op, actor=f"node:{node}", node=node, session=live.session, endpoints=endpoints)
        self._endpoints[node] = command
        if self.away_s <= CUT_S:
            self._tell_endpoints(command)

    def opened(self, opened: SessionOpened) -> None:
        """The leader knows who is back."""

    def returned(self, signed: bytes, heard: Heard) -> None:
        """A node has returned the head that it held, which is refused where it is not one of this store's."""
        self._op += 1
        self._ask(Returned(self._op, signed), self._op, lambda value, error: heard(error))

    def _tell_endpoints(self, command: SetEndpoints) -> None:
        self._announced[command.op] = command
        self._end.say(command)

    def _endpoints_heard(self, command: SetEndpoints) -> None:
        if self._endpoints.get(command.node) is command:
            del self._endpoints[command.node]

    def _ask(self, message: Any, op: int, answer: Answer) -> None:
        if self.away_s > CUT_S:
            answer(None, UnavailableError("the coordinator is starting again: come back in a moment", retry_after=1.0))
            return
        self._asked[op] = answer
        self._end.say(message)

    # What the leader says.

    def _batch(self, payload: bytes | memoryview) -> None:
        self._heard_at = self.clock().mono
        try:
            self._heard += LEADER_BATCH.decode(payload)
        except msgspec.MsgspecError as error:
            self._lose_track(error)
        if not self._following:
            self._follow()

    def _follow(self) -> None:
        """Deal with some of what the leader has said: nodes that ask have their turn in between."""
        until = time.monotonic() + TURN_S
        try:
            while self._heard:
                message = self._heard.popleft()
                self._acts[type(message)](message)
                if time.monotonic() >= until:
                    break
        except Exception as error:
            self._lose_track(error)
        if self._following is not bool(self._heard):
            self._following = not self._following
            self._end.listen(not self._following)
        if self._following:
            self._loop.call_soon(self._follow)

    def _lose_track(self, error: Exception) -> None:
        self._world.observer.event("critical", "feed.fault", error=f"{type(error).__name__}: {error}")
        self._pause_s = FAULT_S
        self._heard.clear()
        self._end.begin_anew("what the leader said could not be followed")

    def _answered(self, op: int, value: Any, error: GhostwireError | None = None) -> None:
        answer = self._asked.pop(op, None)
        if answer is not None:
            answer(value, error)
        elif (announced := self._announced.pop(op, None)) is not None and not isinstance(error, UnavailableError):
            self._endpoints_heard(announced)

    def _opened(self, opened: Opened) -> None:
        frames = self._with_map(opened.slot, opened.frames, opened.left)
        self._answered(
            opened.op,
            SessionOpened(node=opened.node, slot=opened.slot, session=opened.session, frames=frames),
        )

    def _mapped(self, mapped: Mapped) -> None:
        live = self.fanout.at(mapped.node)
        self._answered(mapped.op, () if live is None else self.replication.frames(live.slot, mapped.left))

    def _own(self, own: Own) -> None:
        live = self.fanout.find(own.node, own.session)
        if live is not None:
            self.fanout.send(self._with_map(live.slot, own.frames, own.left), live)

    def _with_map(self, slot: int, frames: tuple[bytes, ...], left: MapFrom | None) -> Iterable[bytes]:
        return frames if left is None else chain(frames, self.replication.frames(slot, left))

    def _replicated(self, message: Replicated) -> None:
        self.replication.follow(message.batch)

    def _refused(self, refused: Refused) -> None:
        kind = _ERRORS.get(refused.code, InternalError)
        self._answered(refused.op, None, kind(refused.message, retry_after=refused.retry_after))

    def _broadcast(self, message: Broadcast) -> None:
        slots = BitMap.deserialize(message.slots)
        self.fanout.push(Push(slots=slots, frame=message.frame, urgent=message.urgent))

    def _close(self, close: Close) -> None:
        self.fanout.close(CloseSession(node=close.node, session=close.session, code=close.code, reason=close.reason))

    def _replaced(self, replaced: Replaced) -> None:
        live = self.fanout.find(replaced.node, replaced.session)
        if live is not None:
            live.replaced()

    def _new_head(self, head: Head) -> None:
        self.head = head.frame
        if head.frame is not None:
            self.fanout.tell_some(head.frame, head.tell)

    def _mark(self, mark: Mark) -> None:
        self.fanout.settled(lambda: self._end.say(Told(mark.number)))

    def _at(self, at: At) -> None:
        self._held = at.position or self._held

    # The link.

    async def _dial(self) -> None:
        """Reach the leader, again and again, until there is one that listens and greets."""
        while True:
            gone = self._loop.create_future()

            def broken(stream: Stream, reason: str, gone: asyncio.Future[None] = gone) -> None:
                if self._end.lost(stream):
                    self._world.observer.event("warning", "leader.link_cut", reason=reason)
                    self._away_since = self.clock().mono
                    self.reached.clear()
                if not gone.done():
                    gone.set_result(None)

            with contextlib.suppress(UnavailableError, PermissionDeniedError, OSError):
                stream = Stream(self._greeted, broken)
                await local.dial(self._directory, SOCKET, stream.itself)
                self._heard_at = self.clock().mono
                stream.write(self._end.link.greeting())
                await gone
            pause, self._pause_s = self._pause_s, DIAL_S
            await asyncio.sleep(pause)

    def _greeted(self, stream: Stream, greeting: Greeting) -> None:
        known = self._end.carried_by(stream, greeting)
        self._world.observer.event("info", "leader.reached", known=known)
        if not known:
            self._heard.clear()
            self.replication.begin()
            self._refuse_all("the coordinator has started again")
            live = [(session.node, session.session) for session in self.fanout.sessions()]
            if live:
                self._end.say(Claims(live, self._held))
        for command in self._endpoints.values():
            self._tell_endpoints(command)
        self.reached.set()

    def _refuse_all(self, reason: str) -> None:
        self._announced.clear()
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer(None, UnavailableError(reason, retry_after=1.0))

    async def _beat(self) -> None:
        """Say regularly that this worker lives, and cut a leader off that doesn't."""
        before = self.clock().mono
        while True:
            await asyncio.sleep(BEAT_S)
            now = self.clock().mono
            if now - before > 2 * BEAT_S or self._following:
                self._heard_at = now  # it was this process that stood still, or has not come to what was said
            before = now
            if not self._end.stands:
                continue
            if now - self._heard_at > SILENT_S:
                self._end.cut(f"the leader was silent for {SILENT_S:g} s")
                continue
            self._end.say(Report(self._counts()))
            if now >= self._beats_due:
                self._beats_due = now + BEATS_S
                self._tell_beats()

    def _tell_beats(self) -> None:
        if (self._beats or self._alive) and self._end.stands:
            beats = [*self._beats.values(), *(Beat(node, session) for node, session in self._alive.items())]
            self._beats, self._alive = {}, {}
            self._end.say(Beats(beats))
