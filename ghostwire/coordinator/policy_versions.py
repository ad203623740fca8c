"""Versions of the policy: applying one, trying it for a while, keeping it, going back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ghostwire.coordinator.commands import ApplyPolicy, ConfirmPolicy, RevertPolicy, RollbackPolicy
from ghostwire.coordinator.decision import Decision, Fallback, Unbuilt
from ghostwire.coordinator.names import printable
from ghostwire.coordinator.policy_aside import Built
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import BINDINGS, Views, bindings_of_version, bindings_value
from ghostwire.errors import ConflictError, GhostwireError, NotFoundError, ValidationError
from ghostwire.model.change import Delete, Put, Write
from ghostwire.model.policy import Connection, Origin, PolicyTrial, PolicyVersion
from ghostwire.model.time import SECOND
from ghostwire.policy import Engine

LONGEST_WAIT_S: Final = 7 * 86_400.0
"""The longest that a version may wait for its confirmation."""
_TCP: Final = 6


class PolicyVersions:
    """Decides which version is in force. The newest always is: going back writes an old text under a new number.

    `in_force_since` is when this run saw the version in force arrive, UTC nanoseconds; 0 when it was there before.
    """

    def __init__(self, state: State, views: Views) -> None:
        self._state = state
        self._views = views
        self.in_force_since = 0

    def get(self, number: int) -> PolicyVersion:
        """A version; 0 is the default policy, which nobody wrote. Raises `NotFoundError`."""
        if number == 0:
            return PolicyVersion(number=0, text="", author="", at=0)
        found = self._state.policies.get(number)
        if found is None:
            raise NotFoundError(f"there is no policy version {number}")
        return found

    def waiting(self) -> PolicyTrial | None:
        """The version that waits for its confirmation."""
        return next(iter(self._state.trials.values()), None)

    def apply(self, command: ApplyPolicy, utc: int) -> Decision | Unbuilt:
        """Put a policy text in force.

        Raises `ValidationError` for a text that allows everything without saying so or whose own tests fail,
        `ConflictError` while another version waits and for what only `force` does.
        """
        waiting = self.waiting()
        if waiting is not None and not command.replace:
            raise ConflictError(
                f"version {waiting.number} waits to be confirmed: `ghostwire policy confirm` keeps it, "
                "`ghostwire policy rollback` goes back, and --replace ends its wait for this one"
            )
        if command.confirm_within_s is not None and not 1 <= command.confirm_within_s <= LONGEST_WAIT_S:
            raise ValidationError("a version waits for its confirmation for 1 second to 7 days")
        against = None if command.confirm_within_s is None else self._restored(waiting)
        wanted = Unbuilt(command.text or " ", {}, self._ends(command.connections), against)
        built = self._views.aside(wanted)
        if built is None:
            return wanted
        if built.policy.allows_everything and not command.allow_all:
            raise ValidationError(
                "this text has neither acls nor grants, which allows everything: say so with --allow-all, "
                'or write "acls": [] to allow nothing'
            )
        forced = self._objections(built, command, utc)
        record = self._next(command.text, command.actor, utc, command.note, "apply", None, forced)
        writes: tuple[Write, ...] = (Put("policies", record), *_ended(waiting))
        if command.confirm_within_s is not None:
            trial = self._trial(record, command.confirm_within_s, waiting)
            writes = (*writes, Put("policy_trials", trial))
        return Decision(_kind("policy.apply", forced), writes, lambda _: record)

    def confirm(self, command: ConfirmPolicy, utc: int) -> Decision:
        """Keep the version that waits. Raises `ConflictError` where none does, or on a connection from before it."""
        waiting = self.waiting()
        if waiting is None or waiting.deadline <= utc or command.number not in (None, waiting.number):
            what = "no policy version" if command.number is None else f"it is not policy version {command.number} that"
            raise ConflictError(f"{what} waits to be confirmed: see `ghostwire policy history`")
        if command.connected_at <= self.in_force_since:
            raise ConflictError(
                "this connection is older than the version: confirm on a new one, which shows that you still get in"
            )
        record = self.get(waiting.number)
        return Decision("policy.confirm", _ended(waiting), lambda _: record)

    def rollback(self, command: RollbackPolicy, utc: int) -> Decision | Unbuilt:
        """Bring an earlier version back. Raises what `apply` raises, `NotFoundError` where there is no such version.

        Ending a wait by going back to where it began is never refused.
        """
        head = self._state.policy
        if head is None:
            raise ConflictError("the default policy is in force, and there is no version to go back to")
        waiting = self.waiting()
        number = command.number
        if number is None:
            number = head.number - 1 if waiting is None else waiting.restores
        if number == head.number:
            raise ConflictError(f"policy version {number} is in force")
        text = self.get(number).text
        if waiting is not None and number == waiting.restores:
            return self._back(waiting, command.actor, utc, command.note, "rollback")
        wanted = Unbuilt(text, {}, self._ends(command.connections))
        built = self._views.aside(wanted)
        if built is None:
            return wanted
        forced = self._objections(built, command, utc)
        record = self._next(text, command.actor, utc, command.note, "rollback", number, forced)
        writes = (Put("policies", record), *_ended(waiting))
        return Decision(_kind("policy.rollback", forced), writes, lambda _: record)

    def revert(self, command: RevertPolicy, utc: int) -> Decision | Unbuilt | None:
        """Nobody has confirmed in time: go back, provided that the version still waits and is still in force."""
        waiting = self.waiting()
        if waiting is None or waiting.number != command.number or waiting.deadline > utc:
            return None
        return self._back(waiting, command.actor, utc, "nobody confirmed it in time", "revert")

    def _back(self, waiting: PolicyTrial, actor: str, utc: int, note: str, origin: Origin) -> Decision | Unbuilt:
        """Go back to where the wait began, with its names' meaning then: nobody gains what a name means since."""
        text = self.get(waiting.restores).text
        bindings = bindings_of_version(waiting.bindings, waiting.restores)
        wanted = Unbuilt(text, bindings)
        if self._views.aside(wanted) is None:
            return wanted
        record = self._next(text, actor, utc, note, origin, waiting.restores, ())
        kept = self._state.setting(BINDINGS, bindings_value(record.number, bindings))
        writes = (Put("policies", record), kept, *_ended(waiting))
        return Decision(f"policy.{origin}", writes, lambda _: record)

    def _next(
        self, text: str, actor: str, utc: int, note: str, origin: Origin, restores: int | None, forced: tuple[str, ...]
    ) -> PolicyVersion:
        return PolicyVersion(
            number=self._number() + 1,
            text=text,
            author=printable(actor),
            at=utc,
            note=printable(note, 1024),
            origin=origin,
            restores=restores,
            forced=forced,
        )

    def _number(self) -> int:
        return 0 if self._state.policy is None else self._state.policy.number

    def _restored(self, waiting: PolicyTrial | None) -> Fallback:
        """What comes back unless a version is confirmed: what did not wait itself."""
        number = self._number() if waiting is None else waiting.restores
        bindings = self._views.bindings if waiting is None else bindings_of_version(waiting.bindings, number)
        return Fallback(number, self.get(number).text, bindings)

    def _trial(self, record: PolicyVersion, within_s: float, replaced: PolicyTrial | None) -> PolicyTrial:
        """The wait of a version. What comes back is the last version that did not wait itself."""
        restores, bindings = self._number(), bindings_value(self._number(), self._views.bindings)
        if replaced is not None:
            restores, bindings = replaced.restores, replaced.bindings
        return PolicyTrial(
            number=record.number,
            restores=restores,
            deadline=record.at + round(within_s * SECOND),
            author=record.author,
            bindings=bindings,
        )

    def _objections(self, built: Built, command: ApplyPolicy | RollbackPolicy, utc: int) -> tuple[str, ...]:
        """What speaks against a policy, where `force` overrides it. Raises it otherwise."""
        found: list[GhostwireError] = []
        if built.failure is not None:
            found.append(ValidationError(f"the policy's own tests: {built.failure}"))
        if self._ends(command.connections):
            found.extend(self._cuts(self._views.judge(built, utc), command.connections))
        if built.only_removes:
            found.append(
                ConflictError("this version only takes access away, and unless confirmed it would be given back")
            )
        if found and not command.force:
            raise type(found[0])("; ".join(error.message for error in found) + " (--force does it all the same)")
        return tuple(error.message for error in found)

    def _ends(self, connections: Iterable[Connection]) -> frozenset[int]:
        """The slots of nodes at both ends of connections that begin at a node."""
        at = self._state.node_by_address
        known = (connection for connection in connections if connection.source in at)
        ends = (at.get(address) for connection in known for address in (connection.source, connection.target))
        return frozenset(node.slot for node in ends if node is not None)

    def _cuts(self, judge: Engine | None, connections: Iterable[Connection]) -> list[GhostwireError]:
        """The asker's own connections over the mesh that a policy would cut."""
        if judge is None:
            return []
        found: list[GhostwireError] = []
        for connection in connections:
            source = self._state.node_by_address.get(connection.source)
            if source is None:
                continue
            edge = connection.source, connection.target, _TCP, connection.port
            if self._views.engine.decide_address(*edge) and not judge.decide_address(*edge):
                target = self._state.node_by_address.get(connection.target)
                name = connection.target if target is None else target.name
                found.append(
                    ConflictError(
                        f"this would cut the connection that you use: {source.name} ({connection.source}) to "
                        f"{name} ({connection.target}) on tcp port {connection.port}"
                    )
                )
        return found


def _ended(waiting: PolicyTrial | None) -> tuple[Write, ...]:
    return () if waiting is None else (Delete("policy_trials", waiting.number, waiting.version),)


def _kind(kind: str, forced: tuple[str, ...]) -> str:
    return f"{kind}.forced" if forced else kind
