"""Parts of maps, each encoded once a version and shared by everyone who sees it."""

from __future__ import annotations

from collections.abc import Set

from pyroaring import BitMap

from ghostwire._native import netmap, token
from ghostwire.coordinator.census import served_routes
from ghostwire.coordinator.journal import Journal
from ghostwire.coordinator.liveness import Presence
from ghostwire.errors import InternalError
from ghostwire.model.node import Node
from ghostwire.model.user import User
from ghostwire.wire.netmap import Peer, Profile, SelfNode, encode_part, part_hash

MASK = (1 << 128) - 1


def peer_part(node: Node, class_id: int, presence: Presence) -> bytes:
    """What peers are shown of a node, and nothing more."""
    return encode_part(
        Peer(
            id=node.id,
            name=node.name,
            key=node.node_key,
            ipv4=node.ipv4,
            ipv6=node.ipv6,
            class_id=class_id,
            owner=node.user_id or 0,
            tags=node.tags,
            online=presence.online,
            endpoints=presence.endpoints,
            routes=served_routes(node),
            # A default is left out by identity, which a node's strings of this kind have.
            node_type=node.node_type,
        )
    )


def self_part(node: Node, class_id: int) -> bytes:
    """What a node is shown of itself."""
    return encode_part(
        SelfNode(
            id=node.id,
            name=node.name,
            key=node.node_key,
            ipv4=node.ipv4,
            ipv6=node.ipv6,
            class_id=class_id,
            owner=node.user_id or 0,
            tags=node.tags,
            routes=served_routes(node),
            key_expiry=node.key_expiry,
        )
    )


def profile_part(user: User) -> bytes:
    """What peers are shown of an owner."""
    return encode_part(Profile(id=user.id, display_name=user.display_name or user.name))


def _peer_hash(node: int, part: bytes) -> bytes:
    """The hash of what peers are shown of a node: a part's, by its name in digests."""
    return token.blake3(b"peer/%d\0" % node + part)


class Fragments:
    """The peer part of every present node, by slot: one arena for all of them."""

    def __init__(self, journal: Journal) -> None:
        self.arena = netmap.Arena(_peer_hash)
        self._journal = journal

    def keep(self, slot: int, node: Node, part: bytes) -> bool:
        """Keep a node's part; whether it differs from the one before."""
        return self.put(slot, node.id, node.user_id or 0, part)

    def put(self, slot: int, node: int, owner: int, part: bytes) -> bool:
        """Keep the part of the node with this id and owner (0 for none); whether it differs from the one before."""
        if not self.arena.put(slot, node, owner, part):
            return False
        self._journal.part(slot)
        return True

    def drop(self, slot: int) -> None:
        """Forget a node's part."""
        self.arena.drop(slot)

    def one(self, slot: int) -> bytes:
        """The part of a present node. Raises `InternalError` for a slot without one."""
        part = self.arena.part(slot)
        if part is None:
            raise InternalError(f"no node is present in slot {slot}")
        return part

    def of(self, slots: BitMap) -> dict[int, bytes]:
        """The parts of these nodes, by node id."""
        return self.arena.parts(slots.to_array())

    def among(self, slots: BitMap, ids: Set[int]) -> BitMap:
        """Those of these nodes whose id is one of `ids`."""
        return BitMap(self.arena.among(slots.to_array(), ids))

    def ids(self, slots: BitMap) -> list[int]:
        """The ids of those of these nodes that are present."""
        return self.arena.ids(slots.to_array())

    def size(self, slots: BitMap) -> int:
        """The bytes that these nodes' parts take in pages."""
        return self.arena.size(slots.to_array())

    def digest(self, slots: BitMap) -> int:
        """The sum of the hashes of these nodes' parts, modulo 2**128."""
        return self.arena.digest(slots.to_array())

    def owners(self, slots: BitMap) -> set[int]:
        """The users who own any of these nodes."""
        return self.arena.owners(slots.to_array())


class Profiles:
    """The profile part of users, encoded when first wanted."""

    def __init__(self, users: dict[int, User], journal: Journal) -> None:
        self._users = users
        self._journal = journal
        self._parts: dict[int, tuple[bytes, int]] = {}

    def part(self, user: int) -> bytes:
        """The part of this user."""
        return self._entry(user)[0]

    def digest(self, user: int) -> int:
        """What the part adds to a digest."""
        return self._entry(user)[1]

    def forget(self, user: int) -> None:
        """The user has changed."""
        self._journal.user(user)
        self._parts.pop(user, None)

    def _entry(self, user: int) -> tuple[bytes, int]:
        found = self._parts.get(user)
        if found is None:
            part = profile_part(self._users[user])
            found = self._parts[user] = (part, part_hash(f"profile/{user}", part))
        return found
