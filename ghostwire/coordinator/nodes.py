"""NodeManager: what operators and nodes themselves may change of nodes that stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ghostwire.coordinator.commands import (
    ApproveRoutes,
    DeleteNode,
    ExpireNode,
    LogoutNode,
    RemoveIdleNode,
    RenameNode,
    RotateNodeKey,
    SetNodeStatus,
    TagNode,
)
from ghostwire.coordinator.decision import Decision, answers_nothing
from ghostwire.coordinator.effects import KeyRotated
from ghostwire.coordinator.key_exchange import KeyExchange
from ghostwire.coordinator.names import check_name, check_routes, check_tags
from ghostwire.coordinator.reservations import Claim, Reservations
from ghostwire.coordinator.sessions import SessionManager
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.state import State
from ghostwire.errors import AuthenticationError, ConflictError, NotFoundError, ValidationError
from ghostwire.model.change import Delete, Put, Write
from ghostwire.model.credential import RefusedKey, RestingAddress
from ghostwire.model.node import Node
from ghostwire.model.time import SECOND, Now


class NodeManager:
    """Renames, tags, expires, removes nodes and swaps their keys."""

    def __init__(self, settings: Settings, state: State, reservations: Reservations, sessions: SessionManager) -> None:
        self._settings = settings
        self._state = state
        self._reservations = reservations
        self._sessions = sessions

    def get(self, node: int) -> Node:
        """The node with this id. Raises `NotFoundError`."""
        found = self._state.nodes.get(node)
        if found is None:
            raise NotFoundError(f"there is no node {node}")
        return found

    def name_is_taken(self, name: str) -> bool:
        """Whether a node has, or is about to have, this name."""
        return name in self._state.node_by_name or self._reservations.is_taken("name", name)

    def rename(self, command: RenameNode, claim: Claim) -> Decision | Node:
        """Give a node this very name. Raises `ConflictError` where another has it."""
        node = self.get(command.node)
        name = check_name(command.name, self._settings.reserved_names)
        if name == node.name:
            return node
        if self.name_is_taken(name):
            raise ConflictError(f"another node is called {name!r}")
        claim.take("name", name)
        return self._changed("node.rename", node, name=name)

    def expire(self, command: ExpireNode) -> Decision | Node:
        """End a node's key: it is no longer in maps, and must register again."""
        node = self.get(command.node)
        if node.expired:
            return node
        return self._changed("node.expire", node, self._sessions.void(node.id), expired=True)

    def tag(self, command: TagNode) -> Decision | Node:
        """Replace a node's owner, or its tags, by tags. Tagged nodes' keys do not expire by time."""
        node = self.get(command.node)
        tags = check_tags(command.tags)
        if not tags:
            raise ValidationError("a node without an owner has at least one tag")
        if tags == node.tags:
            return node
        return self._changed("node.tag", node, tags=tags, user_id=None, key_expiry=0)

    def approve_routes(self, command: ApproveRoutes) -> Decision | Node:
        """Set which of its prefixes a node may serve. Raises `ValidationError` for one that it does not offer."""
        node = self.get(command.node)
        routes = check_routes(command.routes)
        unknown = [route for route in routes if route not in node.routable_routes]
        if unknown:
            raise ValidationError(f"node {node.name!r} does not offer {', '.join(unknown)}")
        return node if routes == node.approved_routes else self._changed("node.routes", node, approved_routes=routes)

    def set_status(self, command: SetNodeStatus) -> Decision | Node:
        """Put a node into or out of maintenance."""
        node = self.get(command.node)
        if command.status not in ("active", "maintenance"):
            raise ValidationError("a status is active or maintenance")
        return node if node.status == command.status else self._changed("node.status", node, status=command.status)

    def delete(self, command: DeleteNode, utc: int) -> Decision:
        """Remove a node and refuse its key for ever."""
        node = self.get(command.node)
        refused = RefusedKey(node_key=node.node_key, reason="the node was deleted", at=utc)
        writes = (*self.removal(node, utc), Put("refused_keys", refused))
        return Decision("node.delete", writes, answers_nothing)

    def logout(self, command: LogoutNode, utc: int) -> Decision:
        """Remove a node that asks for it. Nobody distrusts its key: with a pre-auth key it may register again."""
        return Decision("node.logout", self.removal(self.get(command.node), utc), answers_nothing)

    def remove_idle(self, command: RemoveIdleNode, utc: int) -> Decision:
        """Remove an ephemeral node that was away too long. It may register again."""
        return Decision("node.idle", self.removal(self.get(command.node), utc), answers_nothing)

    def removal(self, node: Node, utc: int) -> tuple[Write, ...]:
        """The writes that remove a node and lay its addresses to rest."""
        rest = self._settings.ephemeral_rest_s if node.ephemeral else self._settings.rest_s
        until = utc + round(rest * SECOND)
        return (
            *self._sessions.void(node.id),
            *(Put("resting_addresses", RestingAddress(address=a, until=until)) for a in (node.ipv4, node.ipv6)),
            *self._state.raise_floor("nodes", node.id),
            Delete("nodes", node.id, node.version),
        )

    def order_rotation(self, node: Node, answer: Callable[[Now], None]) -> Decision:
        """Note that a node is to rotate its key, which stands until it has."""
        record = msgspec.structs.replace(node, rotation_ordered=True, version=node.version + 1)
        return Decision("node.order_rotation", (Put("nodes", record, node.version),), answer)

    def rotate(self, command: RotateNodeKey, utc: int, claim: Claim) -> Decision:
        """Swap the node key, void its token and refuse the old key for ever, in one change."""
        node = self.get(command.node)
        if node.node_key != command.node_key:
            raise AuthenticationError("that is not the node's key any more")
        if node.expired:
            raise AuthenticationError("the node has expired: run `ghostwire up --key ...`")
        key = KeyExchange.node_key(command.new_key).raw
        taken = key in self._state.node_by_key or self._reservations.is_taken("node key", key)
        if taken or key in self._state.refused_keys:
            raise ConflictError("the new key is another node's, or was used before: make a new key pair")
        claim.take("node key", key)
        text, write = self._sessions.mint(node.id, utc)
        refused = RefusedKey(node_key=node.node_key, reason="the key was rotated away", at=utc)
        record = msgspec.structs.replace(node, node_key=key, rotation_ordered=False, version=node.version + 1)
        writes = (write, Put("refused_keys", refused), Put("nodes", record, node.version))
        return Decision("node.rotate", writes, lambda _: KeyRotated(node=node.id, token=text))

    @staticmethod
    def _changed(kind: str, node: Node, more: tuple[Write, ...] = (), **fields: Any) -> Decision:
        record = msgspec.structs.replace(node, version=node.version + 1, **fields)
        return Decision(kind, (*more, Put("nodes", record, node.version)), lambda _: record)
