"""Which commands wait for which: those on one object, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from ghostwire.coordinator import commands as c
from ghostwire.coordinator.state import State

Locks = tuple[Hashable, ...]
Locker = Callable[[Any, State], Locks]
BUILDING: Final = "a policy built aside"
"""What a command holds while its policy is built: others may change the policy, but none of them what is in force."""


def _by_key(command: c.RegisterNode | c.OpenSession, state: State) -> Locks:
    node = state.node_by_key.get(command.node_key)
    key = ("node key", command.node_key)
    return (key,) if node is None else (key, ("node", node.id))


def _rotation(command: c.RotateNodeKey, state: State) -> Locks:
    return ("node", command.node), ("node key", command.node_key), ("node key", command.new_key)


def _on_node(command: Any, state: State) -> Locks:
    return (("node", command.node),)


def _user_made(command: c.CreateUser, state: State) -> Locks:
    return (("user name", command.name.lower()),)


def _key_made(command: c.CreatePreauthKey, state: State) -> Locks:
    return () if command.user is None else (("user name", command.user.lower()),)


def _on_user(command: c.SetUserRole | c.DeleteUser, state: State) -> Locks:
    user = state.users.get(command.user)
    return (("user", command.user),) if user is None else (("user", command.user), ("user name", user.name))


def _one_at_a_time(command: c.Command, state: State) -> Locks:
    return (type(command).__name__,)


_LOCKERS: Final[dict[type[c.Command], Locker]] = {
    c.RegisterNode: _by_key,
    c.OpenSession: _by_key,
    c.RotateNodeKey: _rotation,
    **dict.fromkeys(
        (
            c.LogoutNode,
            c.RenameNode,
            c.ExpireNode,
            c.DeleteNode,
            c.TagNode,
            c.ApproveRoutes,
            c.SetNodeStatus,
            c.OrderRotation,
            c.RemoveIdleNode,
        ),
        _on_node,
    ),
    c.CreateUser: _user_made,
    c.CreatePreauthKey: _key_made,
    c.SetUserRole: _on_user,
    c.DeleteUser: _on_user,
    c.RevokePreauthKey: lambda command, state: (("pre-auth key", command.key),),
    c.RevokeApiToken: lambda command, state: (("api token", command.token),),
    c.RequestAccess: lambda command, state: (("access of", command.user),),
    **dict.fromkeys(
        (c.ApproveAccess, c.DenyAccess, c.RevokeAccess), lambda command, state: (("access", command.request),)
    ),
    **dict.fromkeys(
        (
            c.ConfirmPolicy,
            c.NoteBindings,
            c.EndAccess,
            c.TurnWindows,
        ),
        lambda command, state: ("policy",),
    ),
    **dict.fromkeys((c.ApplyPolicy, c.RollbackPolicy, c.RevertPolicy), lambda command, state: (BUILDING, "policy")),
    **dict.fromkeys((c.WakeAddresses, c.SweepTokens, c.PurgeCredentials, c.NoteTime), _one_at_a_time),
}


def locks_of(command: c.Command, state: State) -> Locks:
    """The objects that a change decided for this command holds on to until it is durable.

    What nodes say in a session holds on to nothing: it writes nothing.
    """
    locker = _LOCKERS.get(type(command))
    return () if locker is None else locker(command, state)
