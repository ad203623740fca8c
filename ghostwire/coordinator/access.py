"""Access on request: asking for it, approving the very request that was asked, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from ghostwire._native import token
from ghostwire.coordinator.access_standing import approved, why_fallen
from ghostwire.coordinator.commands import ApproveAccess, DenyAccess, RequestAccess, RevokeAccess
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.names import printable
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import Views
from ghostwire.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ValidationError,
)
from ghostwire.model.access import AccessRequest, AccessState
from ghostwire.model.change import Put
from ghostwire.model.node import Node
from ghostwire.model.time import SECOND
from ghostwire.policy import RequestRule
from ghostwire.wire.keys import equal

MOST_PENDING: Final = 32
"""Requests of one user that wait at once."""
MOST_PORTS: Final = 16
SHORTEST_S: Final = 1
MAX_REASON: Final = 1024
_PURPOSE: Final = b"ghostwire v1 access request"


def digest_of(user: int, source: int | None, target: int, ports: tuple[str, ...], duration_s: int) -> bytes:
    """What an approval names: BLAKE3 over requester, source (0: all their nodes), destination, ports and duration."""
    return token.blake3(_PURPOSE + b"\0" + msgspec.msgpack.encode((user, source or 0, target, ports, duration_s)))


class AccessDesk:
    """Decides requests. Who may ask for what, who approves it and for how long at most stands in the policy."""

    def __init__(self, state: State, views: Views) -> None:
        self._state = state
        self._views = views
        self._last = max(state.access, default=0)
        self._unsure = True

    def get(self, number: int) -> AccessRequest:
        """The request with this number. Raises `NotFoundError`."""
        found = self._state.access.get(number)
        if found is None:
            raise NotFoundError(f"there is no access request {number}: see `ghostwire access list`")
        return found

    def approvers(self, request: AccessRequest) -> tuple[int, ...]:
        """Who may approve this request as the policy stands; nobody where it could no longer be asked for."""
        target = self._state.nodes.get(request.target)
        if target is None or target.expired or request.user_id not in self._state.users:
            return ()
        rule = self._views.engine.request(request.user_id, target.slot, request.ports)
        return () if rule is None else tuple(user for user in rule.approvers if user != request.user_id)

    def request(self, command: RequestAccess, utc: int) -> Decision:
        """Ask. Raises `PermissionDeniedError` where no rule lets this user ask for it, or not for so long."""
        target = self._present(command.target)
        ports = check_ports(command.ports)
        source = None if command.source is None else self._own(command.user, command.source)
        rule = self._rule(command.user, target, ports, command.duration_s)
        digest = digest_of(command.user, command.source, target.id, ports, command.duration_s)
        waiting = [found for found in self._pending(utc) if found.user_id == command.user]
        for found in waiting:
            if equal(found.digest, digest):
                raise ConflictError(f"access request {found.id} asks for the same and waits")
        if len(waiting) >= MOST_PENDING:
            raise ResourceExhaustedError(f"{MOST_PENDING} requests of this user wait already: let some be decided")
        self._last += 1
        record = AccessRequest(
            id=self._last,
            user_id=command.user,
            source=None if source is None else source.id,
            target=target.id,
            ports=ports,
            duration_s=command.duration_s,
            reason=printable(command.reason, MAX_REASON),
            rule=rule.name,
            digest=digest,
            created_at=utc,
            asked_by=command.actor,
        )
        return Decision("access.request", (Put("access_requests", record),), lambda _: record)

    def approve(self, command: ApproveAccess, utc: int) -> Decision:
        """Approve the very request that was asked.

        Raises `PermissionDeniedError` for a user's own request and for who is no approver, `ConflictError` for a
        request that waits no longer or is not the one that the digest names.
        """
        old = self._waiting(command.request, utc)
        if old.user_id in (command.user, command.holder):
            raise PermissionDeniedError("nobody approves his own request")
        bound = digest_of(old.user_id, old.source, old.target, old.ports, old.duration_s)
        if not (equal(command.digest, old.digest) and equal(old.digest, bound)):
            raise ConflictError("the digest is not that of this request: look at it again")
        target = self._present(old.target)
        if old.source is not None:
            self._own(old.user_id, old.source)
        rule = self._rule(old.user_id, target, old.ports, old.duration_s)
        if command.user not in rule.approvers:
            raise PermissionDeniedError(f"the policy names other approvers for {rule.name!r}")
        return self._decided(
            old,
            "access.approve",
            rule=rule.name,
            state="approved",
            decided_at=utc,
            decided_by=command.actor,
            approver=command.user,
            ends_at=utc + old.duration_s * SECOND,
        )

    def deny(self, command: DenyAccess, utc: int) -> Decision:
        """Refuse a request for good. Raises `PermissionDeniedError`, `ConflictError`."""
        old = self._waiting(command.request, utc)
        self._may_end(old, command.user)
        outcome = printable(command.reason, MAX_REASON)
        return self._decided(
            old, "access.deny", state="denied", decided_at=utc, decided_by=command.actor, outcome=outcome
        )

    def revoke(self, command: RevokeAccess, utc: int) -> Decision:
        """End access before its time. Raises `PermissionDeniedError`, `ConflictError`."""
        old = self.get(command.request)
        if old.state_at(utc) != "approved":
            raise ConflictError(f"access request {old.id} is {old.state_at(utc)}: there is nothing to revoke")
        self._may_end(old, command.user)
        outcome = printable(command.reason, MAX_REASON) or f"revoked by {printable(command.actor)}"
        return self._decided(old, "access.revoke", state="revoked", ends_at=utc, outcome=outcome)

    # What ends by itself.

    def look_again(self) -> None:
        """Something that access may rest on has changed."""
        self._unsure = True

    def concerns(self, node: int) -> bool:
        """Whether access that was approved begins or ends at this node."""
        return any(node in (found.source, found.target) for found in approved(self._state, self._views.at))

    def has_fallen(self) -> bool:
        """Whether access stands in the tables that no longer stands. Quick unless something has changed."""
        unsure, self._unsure = self._unsure, False
        return unsure and any(
            why_fallen(found, self._state, self._views.engine) for found in approved(self._state, self._views.at)
        )

    def end_fallen(self, utc: int) -> Decision | None:
        """Make durable that access has ended whose rule, people or nodes are gone: nothing brings it back."""
        writes = [
            self._ended(found, utc, why)
            for found in approved(self._state, utc)
            if (why := why_fallen(found, self._state, self._views.engine))
        ]
        return Decision("access.end", tuple(writes), answers_nothing) if writes else None

    def end_due(self, utc: int) -> tuple[Put, ...]:
        """The writes that end access whose time has come."""
        due = [found for found in self._state.approved.values() if found.ends_at <= utc]
        return tuple(self._ended(found, found.ends_at, "its time was over") for found in due)

    @staticmethod
    def _ended(old: AccessRequest, at: int, why: str) -> Put:
        record = msgspec.structs.replace(old, state="ended", ends_at=at, outcome=why, version=old.version + 1)
        return Put("access_requests", record, old.version)

    def _decided(self, old: AccessRequest, kind: str, **changes: object) -> Decision:
        record = msgspec.structs.replace(old, version=old.version + 1, **changes)
        return Decision(kind, (Put("access_requests", record, old.version),), lambda _: record)

    def _pending(self, utc: int) -> Iterator[AccessRequest]:
        """Requests that wait, newest first: none is older than the time in which one lapses."""
        for found in reversed(self._state.access.values()):
            if found.lapses_at <= utc:
                return
            if found.state == "pending":
                yield found

    def _waiting(self, number: int, utc: int) -> AccessRequest:
        found = self.get(number)
        state: AccessState = found.state_at(utc)
        if state != "pending":
            said = "has lapsed: ask again" if state == "lapsed" else f"is {state} already"
            raise ConflictError(f"access request {number} {said}")
        return found

    def _present(self, node: int) -> Node:
        found = self._state.nodes.get(node)
        if found is None:
            raise NotFoundError(f"there is no node {node}")
        if found.expired:
            raise ConflictError(f"node {found.name!r} has expired: nobody reaches it")
        return found

    def _own(self, user: int, node: int) -> Node:
        found = self._present(node)
        if found.user_id != user:
            raise PermissionDeniedError(f"node {found.name!r} is not the requester's")
        return found

    def _rule(self, user: int, target: Node, ports: tuple[str, ...], duration_s: int) -> RequestRule:
        """The rule of the policy under which this may be asked for."""
        if user not in self._state.users:
            raise NotFoundError(f"there is no user {user}")
        rule = self._views.engine.request(user, target.slot, ports)
        if rule is None:
            raise PermissionDeniedError(
                f"no rule of the policy lets this user ask for {', '.join(ports)} of {target.name}"
            )
        if not SHORTEST_S <= duration_s <= rule.longest_s:
            raise ValidationError(f"{rule.name!r} grants access for {SHORTEST_S} to {rule.longest_s} seconds")
        return rule

    def _may_end(self, request: AccessRequest, user: int) -> None:
        """Raise unless the user asked for it, approved it, or may approve it."""
        if user in (request.user_id, request.approver):
            return
        role = self._state.users[user].role if user in self._state.users else None
        if role not in ("owner", "admin") and user not in self.approvers(request):
            raise PermissionDeniedError("only its requester, its approvers and administrators end a request")


def check_ports(ports: tuple[str, ...]) -> tuple[str, ...]:
    """What is asked for, as in a grant's `ip`: small letters, sorted, each once. Raises `ValidationError`."""
    if not 0 < len(ports) <= MOST_PORTS:
        raise ValidationError(f"a request names 1 to {MOST_PORTS} ports, as in tcp:22")
    if any(not port or len(port) > 64 for port in ports):
        raise ValidationError("a port is written as in tcp:22, udp:5000-5100, icmp:* or *")
    return tuple(sorted({printable(port).lower() for port in ports}))
