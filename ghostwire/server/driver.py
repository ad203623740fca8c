"""The only loop around the coordinator: commands in, effects done, what the store says handed back in its order.

Nothing is pushed, sent or answered before the store has fsynced what it rests on, because the coordinator emits those
effects only when it is handed `Committed`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from ghostwire.coordinator import Coordinator, commands
from ghostwire.coordinator.commands import (
    ApplyPolicy,
    ApproveRoutes,
    Command,
    Committed,
    DeleteNode,
    DeleteUser,
    ExpireNode,
    Failed,
    LogoutNode,
    PolicyBuilt,
    RevokeAccess,
    RollbackPolicy,
    RotateNodeKey,
    SetUserRole,
    SlotRested,
    TagNode,
)
from ghostwire.coordinator.effects import (
    BuildPolicy,
    CloseSession,
    Effect,
    Flush,
    Persist,
    Push,
    Refuse,
    Reply,
    RestSlot,
    Send,
)
from ghostwire.coordinator.policy_building import build_policy
from ghostwire.coordinator.replica import Feed, encode_batch
from ghostwire.errors import ConflictError, GhostwireError, InternalError, UnavailableError
from ghostwire.model.time import Now
from ghostwire.server.clock import Clock, thread_cpu
from ghostwire.server.gathering import Gathering
from ghostwire.server.status import WorkersStatus
from ghostwire.server.witness import Witness

Answer = Callable[[Any, GhostwireError | None], None]
"""What is called once with (value, None) or (None, error)."""
Build = Callable[[int], Command]
"""Makes the command, given the number by which it is answered."""

RETRY_S: Final = 0.001
"""The shortest time until a timer is looked at again."""
TURN: Final = 64
"""Commands that one turn of the event loop takes from workers, for a few milliseconds."""
REVOKING: Final = (
    ApplyPolicy,
    ApproveRoutes,
    DeleteNode,
    DeleteUser,
    ExpireNode,
    LogoutNode,
    RevokeAccess,
    RollbackPolicy,
    RotateNodeKey,
    SetUserRole,
    TagNode,
)
"""Commands that may take something away: they are answered when those who lose it have been told."""


class Outlet(Protocol):
    """Where what the coordinator says to live sessions goes: to those of this process, or to workers that have them."""

    def __len__(self) -> int:
        """How many sessions live."""

    @property
    def depth(self) -> int:
        """What is on its way."""

    def workers(self) -> WorkersStatus:
        """The processes that have the sessions, where that is not this one."""

    def push(self, effect: Push) -> None:
        """Send one frame to all that live of these slots."""

    def deliver(self, effect: Send) -> None:
        """Send a session its own frames, after everything that was pushed before."""

    def close(self, effect: CloseSession) -> None:
        """End a session."""

    def tell_some(self, frame: bytes, count: int) -> None:
        """Send one message to so many sessions, to others each time."""

    def settled(self, then: Callable[[], None]) -> None:
        """Call `then` once everything that was pushed before has been handed to its sessions."""


class Store(Protocol):
    """What the driver needs of the store."""

    def submit(self, persist: Persist) -> asyncio.Future[Any]:
        """Commit durably. The futures resolve in commit order: with the row of the log, or with an error."""

    def flush(self, effect: Flush) -> None:
        """Write volatile facts, soon."""


class Driver:
    """Runs one coordinator on one event loop. All of its methods belong to that loop's thread."""

    def __init__(self, coordinator: Coordinator, store: Store, outlet: Outlet, clock: Clock, witness: Witness) -> None:
        self.coordinator = coordinator
        self._witness = witness
        self.outlet = outlet
        self.clock = clock
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._op = 0
        self._asked: dict[int, Answer] = {}
        self._open_persists = 0
        self._idle: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._inbox: deque[Command | commands.Answer] = deque()
        self._working = False
        self._gathering = Gathering(self._loop, self._work)
        self._pressing = 0
        self._stopping = False
        self._feed: Feed | None = None
        self._tell_replicas: Callable[[bytes], None] = _nobody
        self._rearm()

    def lead(self, tell: Callable[[bytes], None]) -> Feed:
        """Leave the maps of single nodes to replicas from here on; `tell` them each batch before what it explains."""
        self._feed, self._tell_replicas = self.coordinator.feed(defers=True), tell
        return self._feed

    @property
    def pending(self) -> int:
        """Commands that wait for their answer."""
        return len(self._asked)

    @property
    def committing(self) -> int:
        """Changes that wait for the store."""
        return self._open_persists

    def submit(self, build: Build, answer: Answer) -> None:
        """Hand in a command; `answer` is called once, perhaps before this returns."""
        if self._stopping:
            answer(None, UnavailableError("the coordinator is stopping", retry_after=1.0))
            return
        self._op += 1
        command = build(self._op)
        if isinstance(command, REVOKING):
            self._pressing += 1
            answer = partial(self._when_told, answer)
        self._asked[self._op] = answer
        self._handle(command)

    async def ask(self, build: Build) -> Any:
        """Hand in a command and wait for what it replies. Raises what it is refused with."""
        done: asyncio.Future[Any] = self._loop.create_future()

        def answer(value: Any, error: GhostwireError | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

        self.submit(build, answer)
        return await done

    async def stop(self) -> None:
        """Take no more commands, let the store finish what it has, write the last volatile facts."""
        self._stopping = True
        if self._open_persists:
            self._idle = self._loop.create_future()
            await self._idle
        self.coordinator.stop(self.clock())
        self._work()
        while self._inbox:
            self._work()
        self._gathering.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for answer in list(self._asked.values()):
            answer(None, UnavailableError("the coordinator is stopping", retry_after=1.0))
        self._asked.clear()

    def _handle(self, command: Command | commands.Answer) -> None:
        # An answer may hand in the next command: its turn comes when all that the one before led to is done.
        self._inbox.append(command)
        if self._working:
            return
        if self._feed is None:
            self._work()
        else:
            # What one turn brings is told to replicas as one batch; what takes something away does not wait for others.
            self._gathering.ask(at_once=self._pressing > 0)

    def _work(self) -> None:
        self._working = True
        self._gathering.begin(len(self._inbox))
        try:
            self._carry_out()
            while self._inbox:
                for _ in range(min(len(self._inbox), TURN)):
                    command, now, cpu_s = self._inbox.popleft(), self.clock(), thread_cpu()
                    self.coordinator.handle(command, now)
                    self._witness.handled(type(command).__name__, now, thread_cpu() - cpu_s)
                self._carry_out()
                if self._feed is not None:
                    break
        finally:
            # Also where a command failed: those behind it are dealt with all the same.
            self._working = False
            if self._inbox:
                self._gathering.ask(at_once=True)
            self._rearm()

    def _carry_out(self) -> None:
        """Do what the coordinator wants done; replicas hear first what that rests on."""
        if self._feed is not None and (batch := self._feed.take()) is not None:
            self._tell_replicas(encode_batch(batch))
        while (effect := self.coordinator.poll_effect()) is not None:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Reply):
            self._answered(effect.op, effect.value, None)
        elif isinstance(effect, Push):
            self.outlet.push(effect)
        elif isinstance(effect, Persist):
            self._persist(effect)
        elif isinstance(effect, Refuse):
            self._answered(effect.op, None, effect.error)
        elif isinstance(effect, Send):
            self.outlet.deliver(effect)
        elif isinstance(effect, CloseSession):
            self.outlet.close(effect)
        elif isinstance(effect, RestSlot):
            self.outlet.settled(partial(self._rested, effect.slot))
        elif isinstance(effect, BuildPolicy):
            self._loop.run_in_executor(None, build_policy, effect).add_done_callback(self._built)
        else:
            self._store.flush(effect)

    def _rested(self, slot: int) -> None:
        if not self._stopping:
            self._handle(SlotRested(slot=slot))

    def _built(self, future: asyncio.Future[PolicyBuilt]) -> None:
        if not self._stopping:
            self._handle(future.result())

    def _answered(self, op: int, value: Any, error: GhostwireError | None) -> None:
        answer = self._asked.pop(op, None)
        if answer is not None:
            answer(value, error)

    def _when_told(self, answer: Answer, value: Any, error: GhostwireError | None) -> None:
        self._pressing -= 1
        if error is None:
            self.outlet.settled(partial(answer, value, None))
        else:
            answer(None, error)

    def _persist(self, effect: Persist) -> None:
        self._open_persists += 1
        self._store.submit(effect).add_done_callback(partial(self._settled, effect, self.clock()))

    def _settled(self, effect: Persist, since: Now, future: asyncio.Future[Any]) -> None:
        self._open_persists -= 1
        error = future.exception()
        if error is None:
            row = future.result()
            self._witness.committed(effect, since, row)
            self._handle(Committed(persist=effect.persist, seq=row.seq, ts=row.ts))
        else:
            if not isinstance(error, GhostwireError):
                error = InternalError(f"the store failed: {type(error).__name__}: {error}")
            self._witness.failed(effect, since, error)
            self._handle(Failed(persist=effect.persist, conflict=isinstance(error, ConflictError), error=error))
        if self._idle is not None and not self._open_persists and not self._idle.done():
            self._idle.set_result(None)

    def _rearm(self) -> None:
        due = self.coordinator.poll_timeout()
        if self._timer is not None:
            if due is not None and due >= self._due:
                return  # it fires earlier than needed, looks, and is armed anew
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._due = due
            self._timer = self._loop.call_later(max(RETRY_S, due - self.clock().mono), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self.clock()
        due = self.coordinator.poll_timeout()
        if due is not None and due <= now.mono:
            self.coordinator.handle_timeout(now)
        self._work()


def _nobody(batch: bytes) -> None:
    return
