"""What one policy gives and takes compared with another, over the same users and nodes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from pyroaring import BitMap

from ghostwire.policy.engine import Engine


class EdgeGroup(msgspec.Struct, frozen=True):
    """Nodes that gain, or lose, sight of the same peers."""

    nodes: tuple[int, ...]
    peers: tuple[int, ...]


class Difference(msgspec.Struct, frozen=True):
    """Gained and lost edges between nodes in groups, how many they are, and every node whose map changes.

    An edge is counted once, whichever end sees it.
    """

    gained: tuple[EdgeGroup, ...]
    lost: tuple[EdgeGroup, ...]
    gained_edges: int
    lost_edges: int
    touched: tuple[int, ...]

    @property
    def only_removes(self) -> bool:
        """Whether edges are lost and none is gained."""
        return self.lost_edges > 0 and self.gained_edges == 0


def compare(before: Engine, after: Engine, node_ids: Iterable[int]) -> Difference:
    """Compare two engines over the same nodes. A node is touched when its peers or its filter differ."""
    ids = sorted(node_ids)
    gained: dict[bytes, list[int]] = {}
    lost: dict[bytes, list[int]] = {}
    touched: list[int] = []
    old_members, new_members = _members(before, ids), _members(after, ids)
    for node_id in ids:
        old, new = before.visible(node_id), after.visible(node_id)
        if old != new:
            for groups, peers in ((gained, new - old), (lost, old - new)):
                if peers:
                    groups.setdefault(peers.serialize(), []).append(node_id)
        if old != new or _filter(before, node_id, old_members) != _filter(after, node_id, new_members):
            touched.append(node_id)
    return Difference(_groups(gained), _groups(lost), _edges(gained), _edges(lost), tuple(touched))


def _members(engine: Engine, ids: list[int]) -> dict[int, bytes]:
    """The members of each class: engines number classes each for itself."""
    found: dict[int, BitMap] = {}
    for node_id in ids:
        found.setdefault(engine.class_of(node_id), BitMap()).add(node_id)
    return {number: members.serialize() for number, members in found.items()}


def _filter(engine: Engine, node_id: int, members: dict[int, bytes]) -> frozenset[tuple[object, ...]]:
    """A node's filter with classes as their members; the order of rules decides nothing, nor which of the policy's."""
    return frozenset(
        (
            frozenset(members[number] for number in rule.classes if number in members),
            msgspec.structs.replace(rule, classes=(), rule=0),
        )
        for rule in engine.native_filter(node_id)
    )


def _groups(found: dict[bytes, list[int]]) -> tuple[EdgeGroup, ...]:
    return tuple(EdgeGroup(tuple(nodes), tuple(BitMap.deserialize(peers))) for peers, nodes in found.items())


def _edges(found: dict[bytes, list[int]]) -> int:
    """Sight is mutual, so every edge is found at both of its ends."""
    return sum(len(BitMap.deserialize(peers)) * len(nodes) for peers, nodes in found.items()) // 2
