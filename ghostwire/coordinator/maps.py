"""Maps out of shared parts: whole, from a position on, or as a digest, for a coordinator and its replicas alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from ghostwire._native import netmap
from ghostwire.coordinator.change_window import ChangeWindow, Missed
from ghostwire.coordinator.fragments import MASK, Fragments
from ghostwire.coordinator.kept_digests import KeptDigests
from ghostwire.coordinator.map_pages import MapParts, MapPlan, delta_frame, unchanged_frame
from ghostwire.model.position import Position
from ghostwire.wire.messages import Parts
from ghostwire.wire.netmap import part_hash

LARGEST_DELTA: Final = 512
"""Peers that change for one node at once before it is sent a whole map instead."""


Tables = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]


class Source(Protocol):
    """What maps are made of beside the peers' parts. Nodes are named by slot, and are present."""

    position: Position

    def visible(self, slot: int) -> BitMap:
        """The peers of a node."""

    def owner(self, slot: int) -> int:
        """The user who owns a node, 0 for none."""

    def own_parts(self, slot: int) -> dict[str, bytes]:
        """A node's `self` and `filter`."""

    def own_digest(self, slot: int) -> int:
        """What a node's `self` and `filter` add to its digest."""

    def profile(self, user: int) -> bytes:
        """What peers are shown of an owner."""

    def profile_digest(self, user: int) -> int:
        """What that adds to a digest."""


class Resumed(NamedTuple):
    """The frame that brings a node up to date, and of which kind it is."""

    how: Literal["unchanged", "delta"]
    frame: bytes


class Maps:
    """Maps by slot, of `source`, with the parts of peers in `fragments` and what changed when in `window`."""

    def __init__(self, source: Source, fragments: Fragments, window: ChangeWindow) -> None:
        self.window = window
        self.shared: dict[str, bytes] = {}
        self._source = source
        self._fragments = fragments
        self._shared_digest = 0
        self._digests = KeptDigests()

    def share(self, parts: dict[str, bytes]) -> None:
        """Set the parts that all maps have in common."""
        self.shared = parts
        self._shared_digest = sum(part_hash(name, part) for name, part in parts.items())

    def parts(self, slot: int) -> MapParts:
        """Everything that a map holds."""
        seen = self._source.visible(slot)
        owners = sorted(self.owners(slot, seen))
        return MapParts(
            single={**self._source.own_parts(slot), **self.shared},
            peers=self._fragments.of(seen),
            profiles={user: self._source.profile(user) for user in owners},
            digest=self._sum(slot, seen, owners).to_bytes(16, "big"),
        )

    def plan(self, slot: int) -> MapPlan:
        """A whole map as it is now."""
        seen = self._source.visible(slot)
        owners = sorted(self.owners(slot, seen))
        return MapPlan(
            single={**self._source.own_parts(slot), **self.shared},
            profiles={user: self._source.profile(user) for user in owners},
            peers=np.asarray(seen.to_array()),
            stamp=self._fragments.arena.stamp,
            digest=self._sum_beside_peers(slot, owners),
            position=self._source.position,
        )

    def digest(self, slot: int) -> bytes:
        """The digest of a map; computed once after each change to it."""
        version = (self.window.last_change(slot), self._fragments.arena.id(slot), 0)
        found = self._digests.get(slot, version)
        if found is None:
            seen = self._source.visible(slot)
            found = self._sum(slot, seen, self.owners(slot, seen))
            self._digests.keep(slot, version, found)
        return found.to_bytes(16, "big")

    @property
    def arena(self) -> netmap.Arena:
        """Which node is in which slot, and its part."""
        return self._fragments.arena

    @property
    def by_slot(self) -> Tables:
        """The last change to each map, the sum of its position, and the digests that were kept."""
        return (*self.window.by_slot, self._digests.rows)

    def forget_digests(self) -> None:
        """Changes were missed: what was computed for earlier ones may not hold."""
        self._digests = KeptDigests()

    def resume(self, slot: int, held: Position | None) -> Resumed | None:
        """What brings a node from the position that it holds to this one; None where only a whole map does."""
        if held is None:
            return None
        if self.window.is_untouched(slot, held):
            return Resumed("unchanged", unchanged_frame(self._source.position, self.digest(slot)))
        first = self.window.after(held)
        if first is None:
            return None
        missed = self.window.missed(slot, first)
        if missed is None or len(missed.touched) > LARGEST_DELTA:
            return None
        return Resumed("delta", self._catch_up(slot, missed))

    def is_current(self, slot: int, held: Position) -> bool:
        """Whether nothing on its way would change the map of a node that holds `held`."""
        return self.window.is_untouched(slot, held)

    def newer(self, held: Position, changes: int) -> Position | None:
        """The position that a map which is current at `held` may move to, where so many changes came in between."""
        first = self.window.after(held)
        return self._source.position if first is None or self.window.upcoming - first > changes else None

    def owners(self, slot: int, seen: BitMap) -> set[int]:
        """Whose profiles belong in the map of a node with these peers: their owners' and its own."""
        owners = self._fragments.owners(seen)
        own = self._source.owner(slot)
        if own:
            owners.add(own)
        return owners

    def _sum(self, slot: int, seen: BitMap, owners: Iterable[int]) -> int:
        return self._fragments.digest(seen) + self._sum_beside_peers(slot, owners) & MASK

    def _sum_beside_peers(self, slot: int, owners: Iterable[int]) -> int:
        return self._shared_digest + self._source.own_digest(slot) + sum(map(self._source.profile_digest, owners))

    def _catch_up(self, slot: int, missed: Missed) -> bytes:
        """One delta over everything that a node missed."""
        seen = self._source.visible(slot)
        owners = self.owners(slot, seen)
        shown = self._fragments.among(seen, missed.touched)
        peers = self._fragments.of(shown)
        gone = tuple(sorted(missed.touched - peers.keys() - {0, self._fragments.arena.id(slot)}))
        wanted = (self._fragments.owners(shown) | missed.owners) & owners
        parts = Parts(
            **self._source.own_parts(slot),
            peers=peers,
            profiles={user: self._source.profile(user) for user in sorted(wanted)},
        )
        return delta_frame(self._source.position, parts, gone, tuple(sorted(missed.owners - owners)))
