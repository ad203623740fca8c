"""Parts of maps, each encoded once a version and shared by everyone who sees it, with their hashes in an array."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from ghostwire._native import token
from ghostwire.coordinator.liveness import Presence
from ghostwire.coordinator.views import served_routes
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
            # A default is left out by identity: what the store gives back must be the same object as what is new.
            node_type=sys.intern(node.node_type),
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


class Fragments:
    """The peer part of every present node, by slot, its hash and its owner."""

    def __init__(self) -> None:
        self.parts: dict[int, tuple[int, bytes]] = {}
        self._hashes: NDArray[np.uint32] = np.zeros((1024, 4), dtype=np.uint32)
        self._owners: NDArray[np.int64] = np.zeros(1024, dtype=np.int64)

    def keep(self, slot: int, node: Node, part: bytes) -> bool:
        """Keep a node's part; whether it differs from the one before."""
        if self.parts.get(slot) == (node.id, part):
            return False
        if slot >= len(self._owners):
            self._grow(slot)
        self.parts[slot] = (node.id, part)
        self._hashes[slot] = np.frombuffer(token.blake3(b"peer/%d\0" % node.id + part)[:16], dtype=">u4")
        self._owners[slot] = node.user_id or 0
        return True

    def drop(self, slot: int) -> None:
        """Forget a node's part."""
        if self.parts.pop(slot, None) is not None:
            self._hashes[slot] = 0
            self._owners[slot] = 0

    def of(self, slots: BitMap) -> dict[int, bytes]:
        """The parts of these nodes, by node id."""
        parts = self.parts
        return dict(parts[slot] for slot in slots)

    def digest(self, slots: BitMap) -> int:
        """The sum of the hashes of these nodes' parts, modulo 2**128."""
        if not slots:
            return 0
        chosen = np.frombuffer(slots.to_array(), dtype=np.uint32)
        words: list[int] = self._hashes[chosen].sum(axis=0, dtype=np.uint64).tolist()
        return ((words[0] << 96) + (words[1] << 64) + (words[2] << 32) + words[3]) & MASK

    def owners(self, slots: BitMap) -> set[int]:
        """The users who own any of these nodes."""
        if not slots:
            return set()
        chosen = np.frombuffer(slots.to_array(), dtype=np.uint32)
        found: set[int] = set(np.unique(self._owners[chosen]).tolist())
        found.discard(0)
        return found

    def _grow(self, slot: int) -> None:
        size = max(slot + 1, 2 * len(self._owners))
        hashes = np.zeros((size, 4), dtype=np.uint32)
        hashes[: len(self._hashes)] = self._hashes
        owners = np.zeros(size, dtype=np.int64)
        owners[: len(self._owners)] = self._owners
        self._hashes, self._owners = hashes, owners


class Profiles:
    """The profile part of users, encoded when first wanted."""

    def __init__(self, users: dict[int, User]) -> None:
        self._users = users
        self._parts: dict[int, tuple[bytes, int]] = {}

    def part(self, user: int) -> bytes:
        """The part of this user."""
        return self._entry(user)[0]

    def digest(self, user: int) -> int:
        """What the part adds to a digest."""
        return self._entry(user)[1]

    def forget(self, user: int) -> None:
        """The user has changed."""
        self._parts.pop(user, None)

    def _entry(self, user: int) -> tuple[bytes, int]:
        found = self._parts.get(user)
        if found is None:
            part = profile_part(self._users[user])
            found = self._parts[user] = (part, part_hash(f"profile/{user}", part))
        return found
