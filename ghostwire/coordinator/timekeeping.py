"""Deadlines: what happens when one has come. What lasts goes through the log like any other change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ghostwire.coordinator.agenda import Due
from ghostwire.coordinator.commands import (
    Command,
    EndAccess,
    ExpireNode,
    NoteBindings,
    NoteTime,
    PurgeCredentials,
    RemoveIdleNode,
    RevertPolicy,
    SweepTokens,
    TurnWindows,
    WakeAddresses,
)
from ghostwire.coordinator.conversations import Conversations
from ghostwire.coordinator.core import HIGHEST_TIME, Core
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.ended_credentials import purge
from ghostwire.coordinator.sessions import SWEEP_S
from ghostwire.coordinator.starting import CLOCK_S, PURGE_S, PURGE_SOON_S
from ghostwire.model.change import Delete
from ghostwire.model.time import Now

NOBODY: Final = -1
"""The `op` of commands that the coordinator gives itself: nobody is answered."""
ACTOR: Final = "coordinator"
REST_BATCH_S: Final = 60.0
"""How long rested addresses wait for others, so that they wake together."""
RETRY_S: Final = 60.0
"""How long a change of the coordinator's own waits before it is tried again after the store failed."""
NOTE_S: Final = 3600.0
"""How often the highest time seen goes into the change log."""
POLICY_RETRY_S: Final = 1.0
"""The same where access should have changed: a policy that nobody confirmed, a window that has closed."""


class Timekeeper:
    """Turns due deadlines into effects and commands. `give` takes a command as if it had come from outside."""

    def __init__(self, core: Core, conversations: Conversations, give: Callable[[Command], None]) -> None:
        self._core = core
        self._conversations = conversations
        self._give = give
        self._noted: float | None = None

    def tick(self, now: Now) -> None:
        """Do everything that is due."""
        for kind, node in self._core.agenda.due(now):
            self._do(kind, node, now)

    def _do(self, kind: Due, node: int, now: Now) -> None:
        core = self._core
        if kind is Due.SILENCE:
            self._silence(node, now)
        elif kind is Due.KEY_EXPIRY:
            self._key_expiry(node, now)
        elif kind is Due.IDLE:
            self._idle(node, now)
        elif kind is Due.FLUSH:
            core.flush(now)
        elif kind is Due.WINDOW:
            core.mapper.close_window()
        elif kind is Due.CONFIRM:
            self._unconfirmed(now)
        elif kind is Due.TURN:
            self._turn(now)
        elif kind is Due.REST:
            self._give(WakeAddresses(op=NOBODY, actor=ACTOR))
        elif kind is Due.SWEEP:
            core.agenda.set(Due.SWEEP, 0, now.mono + SWEEP_S)
            self._give(SweepTokens(op=NOBODY, actor=ACTOR))
        elif kind is Due.PURGE:
            core.agenda.set(Due.PURGE, 0, now.mono + PURGE_S)
            self._give(PurgeCredentials(op=NOBODY, actor=ACTOR))
        else:
            core.agenda.set(Due.CLOCK, 0, now.mono + CLOCK_S)
            # The wall clock may have jumped: a machine that slept, or whose time was wrong.
            core.await_turn(now)
            self._keep_time(now)

    def _keep_time(self, now: Now) -> None:
        """Each flush carries the time; what a power cut may not take is logged, which is worth a row an hour."""
        self._core.volatile.arm(now, 0.0)
        if self._noted is None:
            self._noted = now.mono
        elif now.mono - self._noted >= NOTE_S:
            self._noted = now.mono
            self._give(NoteTime(op=NOBODY, actor=ACTOR))

    def wake_addresses(self, now: Now) -> Decision | None:
        """Let addresses that have rested be given again; the next ones have their deadline."""
        core = self._core
        resting = core.state.resting.values()
        due = [found for found in resting if found.until <= now.utc]
        later = min((found.until for found in resting if found.until > now.utc), default=None)
        if later is not None:
            soonest = now.utc + round(REST_BATCH_S * 1e9)
            core.agenda.set_utc(Due.REST, 0, max(later, soonest), now)
        if not due:
            return None
        writes = tuple(Delete("resting_addresses", found.address, found.version) for found in due)
        return Decision("address.wake", writes, answers_nothing)

    def sweep_tokens(self, now: Now) -> Decision | None:
        """Clean up session tokens that have lapsed."""
        writes = self._core.sessions.sweep(now.utc)
        return Decision("session.sweep", writes, answers_nothing) if writes else None

    def purge_credentials(self, now: Now) -> Decision | None:
        """Remove credentials that ended long ago; what one change leaves has its deadline once that has lasted."""
        found = purge(self._core.state, now.utc)
        answer = self._purge_on if found.full else answers_nothing
        return Decision("credential.purge", found.writes, answer) if found.writes else None

    def _purge_on(self, now: Now) -> None:
        self._core.agenda.set(Due.PURGE, 0, now.mono + PURGE_SOON_S)

    def note_time(self, now: Now) -> Decision:
        """Make the highest time seen durable."""
        write = self._core.state.setting(HIGHEST_TIME, now.utc.to_bytes(8, "big"))
        return Decision("clock.note", (write,), answers_nothing)

    def again(self, command: Command, now: Now) -> None:
        """A change of the coordinator's own was refused: its deadline comes again."""
        later = now.mono + RETRY_S
        if isinstance(command, ExpireNode):
            if command.node in self._core.state.nodes:
                self._core.agenda.set(Due.KEY_EXPIRY, command.node, later)
        elif isinstance(command, RemoveIdleNode):
            if command.node in self._core.state.nodes:
                self._core.agenda.set(Due.IDLE, command.node, later)
        elif isinstance(command, WakeAddresses):
            self._core.agenda.set(Due.REST, 0, later)
        elif isinstance(command, RevertPolicy) and self._core.versions.waiting() is not None:
            self._core.agenda.set(Due.CONFIRM, 0, now.mono + POLICY_RETRY_S)
        elif isinstance(command, TurnWindows):
            self._core.agenda.set(Due.TURN, 0, now.mono + POLICY_RETRY_S)
        elif isinstance(command, EndAccess):
            self._core.access.look_again()
            self._core.agenda.set(Due.TURN, 0, now.mono + POLICY_RETRY_S)
        elif isinstance(command, NoteBindings):
            self._core.policies.look_at_bindings_again()

    def is_idle(self, node: int) -> bool:
        """Whether an ephemeral node is away: no session, and no grace left."""
        return self._core.sessions.live(node) is None and not self._core.liveness.get(node).online

    def _silence(self, node: int, now: Now) -> None:
        core = self._core
        record = core.state.nodes.get(node)
        turn = core.liveness.due(node, now)
        if turn == "grace":
            core.counters.heartbeats["missed"] += 1
            if record is not None:
                core.counters.observer.presence(record, "grace")
        if turn != "offline" or record is None:
            return
        core.presence_turned(record, now)
        core.close_session(node, "unavailable", "nothing was heard of the node for too long")
        self._conversations.arm_idle(record, now)

    def _key_expiry(self, node: int, now: Now) -> None:
        record = self._core.state.nodes.get(node)
        if record is None or record.expired or not record.key_expiry:
            return
        if record.key_expiry > now.utc:
            self._core.agenda.set_utc(Due.KEY_EXPIRY, node, record.key_expiry, now)
        else:
            self._give(ExpireNode(op=NOBODY, actor=ACTOR, node=node))

    def _unconfirmed(self, now: Now) -> None:
        waiting = self._core.versions.waiting()
        if waiting is None:
            return
        if waiting.deadline > now.utc:
            self._core.agenda.set_utc(Due.CONFIRM, 0, waiting.deadline, now)
        else:
            self._give(RevertPolicy(op=NOBODY, actor=ACTOR, number=waiting.number))

    def _turn(self, now: Now) -> None:
        if self._core.access.has_fallen():
            self._give(EndAccess(op=NOBODY, actor=ACTOR))
        turn = self._core.windows.next_turn()
        if turn > now.utc:
            self._core.agenda.set_utc(Due.TURN, 0, turn, now)
        elif turn:
            self._give(TurnWindows(op=NOBODY, actor=ACTOR))

    def _idle(self, node: int, now: Now) -> None:
        presence = self._core.liveness.get(node)
        if self.is_idle(node):
            self._give(RemoveIdleNode(op=NOBODY, actor=ACTOR, node=node))
        elif self._core.sessions.live(node) is None and presence.grace_until is not None:
            self._core.agenda.set(Due.IDLE, node, presence.grace_until)
