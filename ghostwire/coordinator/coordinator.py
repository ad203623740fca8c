"""Coordinator: commands in, effects out. It dispatches; what is decided is decided in the parts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from ghostwire.coordinator import commands as c
from ghostwire.coordinator.conversations import Conversations
from ghostwire.coordinator.core import Core
from ghostwire.coordinator.decision import Decision, Unbuilt
from ghostwire.coordinator.effects import BuildPolicy, Effect, Persist, Refuse, Reply
from ghostwire.coordinator.following import follow
from ghostwire.coordinator.locks import BUILDING, locks_of
from ghostwire.coordinator.replica.feed import Feed
from ghostwire.coordinator.reservations import Claim
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.snapshot import Snapshot
from ghostwire.coordinator.starting import start
from ghostwire.coordinator.timekeeping import ACTOR, NOBODY, Timekeeper
from ghostwire.coordinator.view import View
from ghostwire.errors import ConflictError, DatabaseError, GhostwireError, InternalError, UnavailableError
from ghostwire.model.time import SECOND, Now

Handler = Callable[[Any, Now, Claim], Any]
Hearer = Callable[[Any, Now], Any]


@dataclass(slots=True)
class _Pending:
    command: c.Command
    decision: Decision
    claim: Claim
    locks: tuple[Hashable, ...]
    attempt: int


class Coordinator:
    """The sans-IO heart. Every command is answered by exactly one `Reply` or `Refuse` with its `op`.

    `entropy` gives so many random bytes. Call `poll_effect` until None after each other call; `handle_timeout` at the
    monotonic second that `poll_timeout` names, or earlier. `Committed` and `Failed` are handed in as the store answers,
    `Committed` in the order of the log, and `PolicyBuilt` and `SlotRested` when a `BuildPolicy` or a `RestSlot` is
    carried out.
    """

    def __init__(self, settings: Settings, snapshot: Snapshot, entropy: Callable[[int], bytes], now: Now) -> None:
        self._core = start(settings, snapshot, entropy, now)
        self._conversations = Conversations(self._core)
        self._inbox: deque[tuple[c.Command, int]] = deque()
        self._timekeeper = Timekeeper(self._core, self._conversations, lambda command: self._inbox.append((command, 1)))
        self._pending: dict[int, _Pending] = {}
        self._building: tuple[c.Command, int] | None = None
        self._last_build = 0
        self._last_persist = 0
        self._stopped = False
        self._handlers = _handlers(self._core, self._conversations, self._timekeeper)
        self._hearers = _hearers(self._conversations)
        self.view = View(self._core)
        if self._core.access.has_fallen():
            # Before anything else is decided, so that no version of the policy brings it back.
            self._inbox.append((c.EndAccess(op=NOBODY, actor=ACTOR), 1))

    def handle(self, command: c.Command | c.Answer, now: Now) -> None:
        """Take one command, or what an effect has led to."""
        now = self._at(now)
        if isinstance(command, c.Committed):
            self._committed(command, now)
        elif isinstance(command, c.Failed):
            self._failed(command, now)
        elif isinstance(command, c.PolicyBuilt):
            self._built(command, now)
        elif isinstance(command, c.SlotRested):
            self._core.registrar.slots.release(command.slot)
        else:
            self._inbox.append((command, 1))
        self._work(now)

    def handle_timeout(self, now: Now) -> None:
        """Do what is due at `now`."""
        now = self._at(now)
        self._timekeeper.tick(now)
        self._work(now)

    def poll_timeout(self) -> float | None:
        """When to call `handle_timeout`, in monotonic seconds; None for not at all."""
        return None if self._stopped else self._core.agenda.next()

    def poll_effect(self) -> Effect | None:
        """The next effect to carry out, or None."""
        return self._core.effects.popleft() if self._core.effects else None

    def feed(self, *, defers: bool = False) -> Feed:
        """What replicas are told from here on. One feed at a time: it serves any number of them.

        With `defers`, the maps of single nodes are left to them.
        """
        self._core.mapper.defers = defers
        return Feed(self._core)

    def stop(self, now: Now) -> None:
        """End gracefully: everything that may be lost is flushed, commands are refused from here on.

        Changes in flight may still be committed; what they answer is still emitted.
        """
        now = self._at(now)
        self._stopped = True
        core = self._core
        core.mapper.close_window()
        core.flush(now)

    def _at(self, now: Now) -> Now:
        """Never earlier than before, and never standing: a clock set back re-opens nothing, and keeps nothing open."""
        held = self._core.now
        if now.mono >= held.mono and now.utc >= held.utc:
            self._core.now = now
            return now
        mono = max(now.mono, held.mono)
        carried = held.utc + round((mono - held.mono) * SECOND)
        self._core.now = Now(mono, now.utc if now.utc >= held.utc else carried)
        return self._core.now

    def _work(self, now: Now) -> None:
        while self._inbox:
            command, attempt = self._inbox.popleft()
            self._decide(command, attempt, now)
        self._core.arm_window(now)

    def _decide(self, command: c.Command, attempt: int, now: Now) -> None:
        if self._stopped:
            self._refuse(command, UnavailableError("the coordinator is stopping", retry_after=1.0), now)
            return
        hearer = self._hearers.get(type(command))
        if hearer is not None:
            self._hear(hearer, command, now)
            return
        handler = self._handlers.get(type(command))
        if handler is None:
            self._refuse(command, InternalError(f"nobody decides {type(command).__name__}"), now)
            return
        locks = locks_of(command, self._core.state)
        if locks and not self._core.reservations.lock(locks, command):
            return
        claim = Claim(self._core.reservations)
        try:
            found = handler(command, now, claim)
        except GhostwireError as error:
            claim.release(committed=False)
            self._refuse(command, error, now)
            return
        if isinstance(found, Decision):
            self._persist(_Pending(command, found, claim, locks, attempt))
        elif isinstance(found, Unbuilt):
            claim.release(committed=False)
            self._build(command, found, attempt, now)
        else:
            claim.release(committed=False)
            self._reply(command, found)

    def _hear(self, hearer: Hearer, command: c.Command, now: Now) -> None:
        """Take what is said in a session."""
        try:
            found = hearer(command, now)
        except GhostwireError as error:
            self._refuse(command, error, now)
        else:
            self._reply(command, found)

    def _build(self, command: c.Command, unbuilt: Unbuilt, attempt: int, now: Now) -> None:
        """Have a policy built aside: nothing else waits for it but commands that would exchange it, too."""
        core = self._core
        core.reservations.hold((BUILDING,))
        self._building = command, attempt
        self._last_build += 1
        standing = core.views.begin_aside(unbuilt)
        core.effects.append(
            BuildPolicy(
                build=self._last_build,
                text=unbuilt.text,
                bindings=dict(unbuilt.bindings),
                census=core.views.census(now.utc),
                standing=standing,
                ends=unbuilt.ends,
                against=unbuilt.against,
            )
        )

    def _built(self, answer: c.PolicyBuilt, now: Now) -> None:
        if self._building is None or answer.build != self._last_build:
            return
        (command, attempt), self._building = self._building, None
        woken = self._core.reservations.unlock((BUILDING,))
        if answer.built is not None:
            self._core.views.aside_built(answer.built)
            self._inbox.append((command, attempt))
        else:
            self._core.views.end_aside()
            self._refuse(command, answer.error or InternalError("no policy was built"), now)
        self._inbox.extend((waiting, 1) for waiting in woken)

    def _persist(self, pending: _Pending) -> None:
        core = self._core
        self._last_persist += 1
        core.counters.persists += 1
        core.reservations.hold(pending.locks)
        self._pending[self._last_persist] = pending
        core.effects.append(
            Persist(
                persist=self._last_persist,
                kind=pending.decision.kind,
                actor=pending.command.actor,
                writes=pending.decision.writes,
            )
        )

    def _committed(self, answer: c.Committed, now: Now) -> None:
        pending = self._pending.pop(answer.persist)
        core = self._core
        moved = core.state.apply_writes(pending.decision.writes, answer.seq)
        core.moved()
        pending.claim.release(committed=True)
        arrives = pending.decision.arrives
        came = arrives is not None and core.liveness.opened(arrives, now)
        follow(core, moved, now)
        if came and arrives is not None:
            core.counters.observer.presence(core.nodes.get(arrives), "online")
        if core.access.has_fallen():
            self._inbox.append((c.EndAccess(op=NOBODY, actor=ACTOR), 1))
        if core.policies.bindings_moved():
            self._inbox.append((c.NoteBindings(op=NOBODY, actor=ACTOR), 1))
        for table, old, new in moved:
            if table == "nodes" and new is None and old is not None:
                self._conversations.forget(old.id)
        if isinstance(pending.command, c.RegisterNode):
            core.counters.registrations += 1
        try:
            self._reply(pending.command, pending.decision.answer(now))
        except GhostwireError as error:
            self._refuse(pending.command, error, now)
        self._wake(pending)

    def _failed(self, answer: c.Failed, now: Now) -> None:
        pending = self._pending.pop(answer.persist)
        counters = self._core.counters
        pending.claim.release(committed=False)
        if answer.conflict and pending.attempt < self._core.settings.retries:
            counters.conflicts += 1
            self._inbox.append((pending.command, pending.attempt + 1))
        else:
            counters.failures += 1
            self._refuse(pending.command, _store_error(answer), now)
        self._wake(pending)

    def _wake(self, pending: _Pending) -> None:
        self._inbox.extend((command, 1) for command in self._core.reservations.unlock(pending.locks))

    def _reply(self, command: c.Command, value: Any) -> None:
        if command.op != NOBODY:
            self._core.effects.append(Reply(op=command.op, value=value))

    def _refuse(self, command: c.Command, error: GhostwireError, now: Now) -> None:
        if isinstance(command, c.RegisterNode):
            self._core.counters.registrations_refused += 1
        if BUILDING in locks_of(command, self._core.state):
            self._core.views.end_aside()
        if command.op != NOBODY:
            self._core.effects.append(Refuse(op=command.op, error=error))
        else:
            self._timekeeper.again(command, now)


def _store_error(answer: c.Failed) -> GhostwireError:
    if answer.conflict:
        return ConflictError("what this change was decided on keeps changing: try again")
    if isinstance(answer.error, GhostwireError):
        return answer.error
    return DatabaseError(f"the store refused the change: {answer.error}")


def _hearers(talk: Conversations) -> dict[type[c.Command], Hearer]:
    """Who takes what is said in a session: it changes no row, so that nothing is locked or claimed for it."""
    return {
        c.AdoptSession: talk.adopt,
        c.SessionClosed: talk.closed,
        c.HeartbeatNode: talk.heartbeat,
        c.HearNodes: talk.hear,
        c.SetEndpoints: talk.set_endpoints,
        c.ResyncNode: talk.resync,
    }


def _handlers(core: Core, talk: Conversations, time: Timekeeper) -> dict[type[c.Command], Handler]:
    """Who decides what. A handler gives a `Decision`, or the reply where there is nothing to write."""
    nodes, keys, tokens, users = core.nodes, core.preauth_keys, core.api_tokens, core.users
    return {
        c.RegisterNode: talk.register,
        c.OpenSession: lambda m, now, claim: talk.open(m, now),
        c.OrderRotation: lambda m, now, claim: talk.order_rotation(m),
        c.RotateNodeKey: lambda m, now, claim: nodes.rotate(m, now.utc, claim),
        c.LogoutNode: lambda m, now, claim: nodes.logout(m, now.utc),
        c.RenameNode: lambda m, now, claim: nodes.rename(m, claim),
        c.ExpireNode: lambda m, now, claim: nodes.expire(m),
        c.DeleteNode: lambda m, now, claim: nodes.delete(m, now.utc),
        c.TagNode: lambda m, now, claim: nodes.tag(m),
        c.ApproveRoutes: lambda m, now, claim: nodes.approve_routes(m),
        c.SetNodeStatus: lambda m, now, claim: nodes.set_status(m),
        c.CreateUser: lambda m, now, claim: users.create(m, now.utc, claim),
        c.SetUserRole: lambda m, now, claim: users.set_role(m),
        c.DeleteUser: lambda m, now, claim: users.delete(m, claim),
        c.CreatePreauthKey: lambda m, now, claim: keys.create(m, now.utc, claim),
        c.RevokePreauthKey: lambda m, now, claim: keys.revoke(m, now.utc, claim),
        c.CreateApiToken: lambda m, now, claim: tokens.create(m, now.utc),
        c.RevokeApiToken: lambda m, now, claim: tokens.revoke(m, now.utc),
        c.ApplyPolicy: lambda m, now, claim: core.versions.apply(m, now.utc),
        c.ConfirmPolicy: lambda m, now, claim: core.versions.confirm(m, now.utc),
        c.RollbackPolicy: lambda m, now, claim: core.versions.rollback(m, now.utc),
        c.RevertPolicy: lambda m, now, claim: core.versions.revert(m, now.utc),
        c.RequestAccess: lambda m, now, claim: core.access.request(m, now.utc),
        c.ApproveAccess: lambda m, now, claim: core.access.approve(m, now.utc),
        c.DenyAccess: lambda m, now, claim: core.access.deny(m, now.utc),
        c.RevokeAccess: lambda m, now, claim: core.access.revoke(m, now.utc),
        c.EndAccess: lambda m, now, claim: core.access.end_fallen(now.utc),
        c.TurnWindows: lambda m, now, claim: core.windows.turn(now.utc),
        c.RemoveIdleNode: lambda m, now, claim: nodes.remove_idle(m, now.utc) if time.is_idle(m.node) else None,
        c.WakeAddresses: lambda m, now, claim: time.wake_addresses(now),
        c.SweepTokens: lambda m, now, claim: time.sweep_tokens(now),
        c.PurgeCredentials: lambda m, now, claim: time.purge_credentials(now),
        c.NoteTime: lambda m, now, claim: time.note_time(now),
        c.NoteBindings: lambda m, now, claim: core.policies.note_bindings(),
    }
