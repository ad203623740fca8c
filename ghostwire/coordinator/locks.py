"""Which commands wait for which: those on one object, one after the other."""

from __future__ import annotations

from collections.abc import Hashable

from ghostwire.coordinator import commands as c
from ghostwire.coordinator.state import State

_ON_A_NODE = (
    c.LogoutNode,
    c.RenameNode,
    c.ExpireNode,
    c.DeleteNode,
    c.TagNode,
    c.ApproveRoutes,
    c.SetNodeStatus,
    c.RemoveIdleNode,
)
_ONE_AT_A_TIME = (c.ApplyPolicy, c.WakeAddresses, c.SweepTokens, c.NoteTime)


def locks_of(command: c.Command, state: State) -> tuple[Hashable, ...]:
    """The objects that a change decided for this command holds on to until it is durable.

    What nodes say in a session holds on to nothing: it writes nothing.
    """
    if isinstance(command, c.RegisterNode | c.OpenSession):
        node = state.node_by_key.get(command.node_key)
        key = ("node key", command.node_key)
        return (key,) if node is None else (key, ("node", node.id))
    if isinstance(command, c.RotateNodeKey):
        return (("node", command.node), ("node key", command.node_key), ("node key", command.new_key))
    if isinstance(command, _ON_A_NODE):
        return (("node", command.node),)
    if isinstance(command, c.CreateUser):
        return (("user name", command.name.lower()),)
    if isinstance(command, c.CreatePreauthKey):
        return () if command.user is None else (("user name", command.user.lower()),)
    if isinstance(command, c.SetUserRole | c.DeleteUser):
        user = state.users.get(command.user)
        return (("user", command.user),) if user is None else (("user", command.user), ("user name", user.name))
    if isinstance(command, c.RevokePreauthKey):
        return (("pre-auth key", command.key),)
    if isinstance(command, c.RevokeApiToken):
        return (("api token", command.token),)
    return (type(command).__name__,) if isinstance(command, _ONE_AT_A_TIME) else ()
