"""Users: who owns nodes."""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from ghostwire.coordinator.commands import CreateUser, DeleteUser, SetUserRole
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.names import check_user_name, printable
from ghostwire.coordinator.reservations import Claim, Reservations
from ghostwire.coordinator.state import State
from ghostwire.errors import ConflictError, NotFoundError, ValidationError
from ghostwire.model.change import Delete, Put, Write
from ghostwire.model.user import Role, User

ROLES: Final = get_args(Role)


class UserManager:
    """Creates, changes and deletes users. An id is never given again, not even after a restart."""

    def __init__(self, state: State, reservations: Reservations) -> None:
        self._state = state
        self._reservations = reservations
        self._last = max(max(state.users, default=0), state.id_floor("users"))
        self._joining: dict[int, int] = {}

    def get(self, user: int) -> User:
        """The user with this id. Raises `NotFoundError`."""
        found = self._state.users.get(user)
        if found is None:
            raise NotFoundError(f"there is no user {user}")
        return found

    def create(self, command: CreateUser, utc: int, claim: Claim) -> Decision:
        """Make a user. Raises `ConflictError` where the name is taken."""
        name = check_user_name(command.name)
        if name in self._state.user_by_name or self._reservations.is_taken("user", name):
            raise ConflictError(f"there is a user {name!r} already")
        if command.role not in ROLES:
            raise ValidationError(f"a role is one of {', '.join(ROLES)}")
        record = msgspec.structs.replace(
            self._new(name, claim, utc),
            display_name=printable(command.display_name, 128),
            email=printable(command.email, 254),
            role=command.role,
        )
        return Decision("user.create", (Put("users", record),), lambda _: record)

    def on_demand(self, name: str, claim: Claim, utc: int) -> tuple[int, tuple[Write, ...]]:
        """The id of the user with this name, and the write that makes them where there is none."""
        name = check_user_name(name)
        found = self._state.user_by_name.get(name)
        if found is not None:
            self.hold(found.id, claim)
            return found.id, ()
        record = self._new(name, claim, utc)
        return record.id, (Put("users", record),)

    def set_role(self, command: SetUserRole) -> Decision:
        """Give a user another role."""
        old = self.get(command.user)
        if command.role not in ROLES:
            raise ValidationError(f"a role is one of {', '.join(ROLES)}")
        record = msgspec.structs.replace(old, role=command.role, version=old.version + 1)
        write = Put("users", record, old.version)
        return Decision("user.role", (write,), lambda _: record)

    def delete(self, command: DeleteUser, claim: Claim) -> Decision:
        """Delete a user, their identities and their pre-auth keys. Raises `ConflictError` while they own nodes."""
        old = self.get(command.user)
        owned = len(self._state.nodes_of.get(old.id, ()))
        if owned:
            nodes = "a node: delete it first" if owned == 1 else f"{owned} nodes: delete those first"
            raise ConflictError(f"user {old.name!r} owns {nodes}")
        if self._joining.get(old.id):
            raise ConflictError(f"a node or a key of user {old.name!r} is being made: try again")
        claim.take("user gone", old.id)
        writes: list[Write] = [
            Delete("identities", key, identity.version)
            for key, identity in self._state.tables["identities"].items()
            if identity.user_id == old.id
        ]
        keys = [key for key in self._state.preauth_keys.values() if key.user_id == old.id]
        for key in keys:
            latest = self._reservations.latest("preauth_keys", key.id, key)
            writes.append(Delete("preauth_keys", key.id, latest.version))
        if keys:
            writes.extend(self._state.raise_floor("preauth_keys", max(key.id for key in keys)))
        writes.extend(self._state.raise_floor("users", old.id))
        writes.append(Delete("users", old.id, old.version))
        return Decision("user.delete", tuple(writes), answers_nothing)

    def hold(self, user: int, claim: Claim) -> None:
        """Keep a user from being deleted until the claim is released. Raises `ConflictError` when they are going."""
        if self._reservations.is_taken("user gone", user):
            raise ConflictError("the user is being deleted")
        self._joining[user] = self._joining.get(user, 0) + 1
        claim.after.append(lambda: self._release(user))

    def _release(self, user: int) -> None:
        self._joining[user] -= 1
        if not self._joining[user]:
            del self._joining[user]

    def _new(self, name: str, claim: Claim, utc: int) -> User:
        claim.take("user", name)
        self._last += 1
        return User(id=self._last, name=name, created_at=utc)
