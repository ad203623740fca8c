"""NetworkMapper: every node's map, whole or as what changed, from fragments that are encoded once.

No map is kept. A change is encoded once for everyone who sees it the same way, and what it costs depends on who is
affected: on finding them, that is, since they all share the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
import numpy as np
from pyroaring import BitMap

from ghostwire.coordinator.change_window import ChangeWindow, Missed
from ghostwire.coordinator.counters import Counters
from ghostwire.coordinator.effects import Push
from ghostwire.coordinator.fragments import MASK, Fragments, Profiles, peer_part, self_part
from ghostwire.coordinator.liveness import HeartbeatMonitor
from ghostwire.coordinator.map_pages import MapParts, MapPlan, delta_frame, full_frames, unchanged_frame
from ghostwire.coordinator.pacing import Batch, Pacer
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import Views
from ghostwire.model.node import Node
from ghostwire.model.position import Position
from ghostwire.wire.messages import Parts
from ghostwire.wire.netmap import Dns, Network, Relays, encode_part, part_hash

LARGEST_DELTA: Final = 512
"""Peers that change for one node at once before it is sent a whole map instead."""


class NetworkMapper:
    """Maps by slot. `position` is where the coordinator stands; every frame names it."""

    def __init__(
        self,
        state: State,
        views: Views,
        liveness: HeartbeatMonitor,
        window: ChangeWindow,
        counters: Counters,
        emit: Callable[[Push], None],
    ) -> None:
        self._state = state
        self._views = views
        self._liveness = liveness
        self._window = window
        self._counters = counters
        self._emit = emit
        self.fragments = Fragments()
        self.pacer = Pacer(0.0)
        self.profiles = Profiles(state.users)
        self.position = Position(log=b"", seq=0, boot=b"", vseq=0)
        self._shared: dict[str, bytes] = {}
        self._shared_digest = 0
        self._digests: dict[int, tuple[int, bytes]] = {}
        self._own_digests: dict[int, tuple[tuple[int, int, int], int]] = {}
        self._filter: tuple[tuple[int, int, int], bytes] = ((0, 0, 0), b"")

    def begin(self, settings: Settings, position: Position) -> None:
        """Encode what all maps share and every present node's part."""
        self.position = position
        self.pacer = Pacer(settings.coalesce_s)
        network = Network(
            id=settings.network_id,
            domain=settings.domain,
            max_age_s=settings.max_age_s,
            heartbeat_s=settings.heartbeat_s,
            key_rotation_s=settings.key_rotation_s,
        )
        self._shared = {
            "dns": encode_part(Dns(domain=settings.domain)),
            "relays": encode_part(Relays()),
            "network": encode_part(network),
        }
        self._shared_digest = sum(part_hash(name, part) for name, part in self._shared.items())
        for node in self._state.nodes.values():
            if not node.expired:
                self.refresh(node)

    def refresh(self, node: Node) -> bool:
        """Encode a present node's part again; whether it is another now."""
        part = peer_part(node, self._views.class_of(node.slot), self._liveness.get(node.id))
        return self.fragments.keep(node.slot, node, part)

    # Whole maps.

    def parts(self, node: Node) -> MapParts:
        """Everything that a present node's map holds."""
        slot = node.slot
        seen = self._views.visible(slot)
        own = self.own_parts(node)
        profiles = {user: self.profiles.part(user) for user in sorted(self.owners(node, seen))}
        digest = self._sum(node, seen, profiles)
        return MapParts(single={**own, **self._shared}, peers=self.fragments.of(seen), profiles=profiles, digest=digest)

    def full(self, node: Node) -> Iterable[bytes]:
        """The frames of a node's whole map as it is now, each made when it is asked for: once."""
        self.pacer.caught_up(node.slot)
        seen = self._views.visible(node.slot)
        owners = self.owners(node, seen)
        plan = MapPlan(
            single={**self.own_parts(node), **self._shared},
            profiles={user: self.profiles.part(user) for user in sorted(owners)},
            peers=np.asarray(seen.to_array()),
            stamp=self.fragments.arena.stamp,
            digest=self._sum_beside_peers(node, owners),
            position=self.position,
        )
        self._counters.maps["full"] += 1
        return self._pages(plan)

    def _pages(self, plan: MapPlan) -> Iterator[bytes]:
        pages = 0
        for frame in full_frames(plan, self.fragments.arena):
            pages += 1
            yield frame
        self._counters.observer.netmap_built(len(plan.peers), pages)

    def digest(self, node: Node) -> bytes:
        """The digest of a node's current map; computed once after each change to it."""
        slot = node.slot
        changed = self._window.last_change(slot)
        kept = self._digests.get(slot)
        if kept is not None and kept[0] == changed:
            return kept[1]
        seen = self._views.visible(slot)
        found = self._sum(node, seen, self.owners(node, seen))
        self._digests[slot] = (changed, found)
        return found

    def resume(self, node: Node, held: Position | None) -> Iterable[bytes]:
        """The frames that bring a node from the position that it holds to this one."""
        self.pacer.caught_up(node.slot)
        first = None if held is None else self._window.after(held)
        if first is None:
            return self.full(node)
        if self._window.last_change(node.slot) < first:
            self._counters.maps["unchanged"] += 1
            return (unchanged_frame(self.position, self.digest(node)),)
        missed = self._window.missed(node.slot, first)
        if missed is None or len(missed.touched) > LARGEST_DELTA:
            return self.full(node)
        self._counters.maps["delta"] += 1
        return (self._catch_up(node, missed),)

    def is_current(self, node: Node, held: Position) -> bool:
        """Whether nothing on its way would change the map of a node that holds `held`."""
        first = self._window.after(held)
        return first is not None and self._window.last_change(node.slot) < first

    def is_behind(self, held: Position, changes: int) -> bool:
        """Whether more than so many changes, of whoever's map, came after a position."""
        first = self._window.after(held)
        return first is None or self._window.upcoming - first > changes

    def unchanged(self, node: Node) -> bytes:
        """The frame that moves a current map to this position."""
        return unchanged_frame(self.position, self.digest(node))

    def peer_ids(self, node: Node) -> BitMap:
        """The slots of a node's peers."""
        return self._views.visible(node.slot) if node.slot in self._views.slots else BitMap()

    def rules_part(self, slot: int) -> bytes:
        """A node's inbound filter, encoded."""
        return encode_part(self._views.rules(slot))

    # Changes.

    def push(self, slots: BitMap, parts: Parts, gone: tuple[int, ...], gone_profiles: tuple[int, ...]) -> None:
        """Send a delta to these nodes at once, and with it what waits for any of them."""
        if not slots:
            return
        for batch in self.pacer.hurry(slots, gone):
            self._emit_delta(batch.slots, self._joined(parts, batch.nodes), gone, gone_profiles)

    def show(self, node: Node, viewers: BitMap) -> None:
        """Show a present node as it is now: at once to who has heard nothing in this window, later to the others."""
        self._show(Batch(self.pacer.show(node.id, node.slot, viewers), (node.id,)))

    def close_window(self) -> None:
        """Send what has waited, each node as it is now."""
        for batch in self.pacer.close():
            self._show(batch)

    def _show(self, batch: Batch) -> None:
        if batch.slots:
            self._emit_delta(batch.slots, self._joined(Parts(), batch.nodes), (), ())

    def _joined(self, parts: Parts, nodes: tuple[int, ...]) -> Parts:
        """Parts, and beside them these nodes as far as they are still present, with their owners' profiles."""
        if not nodes:
            return parts
        present = [self._state.nodes[node] for node in nodes if node in self._state.nodes]
        slots = BitMap(node.slot for node in present if node.slot in self._views.slots)
        profiles = {user: self.profiles.part(user) for user in sorted(self.fragments.owners(slots))}
        return msgspec.structs.replace(
            parts, peers={**self.fragments.of(slots), **parts.peers}, profiles={**profiles, **parts.profiles}
        )

    def _emit_delta(self, slots: BitMap, parts: Parts, gone: tuple[int, ...], gone_profiles: tuple[int, ...]) -> None:
        frame = delta_frame(self.position, parts, gone, gone_profiles)
        self._counters.observer.delta_encoded(len(slots), len(frame))
        self._emit(Push(slots=slots, frame=frame, urgent=bool(gone)))

    def presence_changed(self, node: Node) -> bool:
        """What peers see of a node's presence may be another; whether it is. The position has moved already."""
        if node.slot not in self._views.slots or not self.refresh(node):
            return False
        viewers = self._views.visible(node.slot)
        self._window.add(self.position, (node.id,), (), viewers)
        self.show(node, viewers)
        return True

    def profile_changed(self, user: int) -> None:
        """A user's profile is another: tell those who see any of their nodes, and the nodes themselves."""
        self.profiles.forget(user)
        viewers = self.viewers_of(user)
        if viewers:
            self._window.add(self.position, (0,), (user,), viewers)
            self.push(viewers, Parts(profiles={user: self.profiles.part(user)}), (), ())

    def viewers_of(self, user: int, among: BitMap | None = None) -> BitMap:
        """Who has this user's profile in their map: those who see a node of theirs, and those nodes themselves.

        With `among`, stops looking once all of these are found.
        """
        found = BitMap()
        for node in self._state.nodes_of.get(user, {}).values():
            if node.slot in self._views.slots:
                found.add(node.slot)
                found |= self._views.visible(node.slot)
                if among is not None and among.issubset(found):
                    break
        return found

    # Parts of one node's map.

    def own_parts(self, node: Node) -> dict[str, bytes]:
        """A node's `self` and `filter`, encoded."""
        return {
            "self": self_part(node, self._views.class_of(node.slot)),
            "filter": self.filter_part(node),
        }

    def filter_part(self, node: Node) -> bytes:
        """A node's `filter`. The last one is kept: what happens to a node asks for it several times in a row."""
        version = (node.id, node.version, self._views.version)
        if self._filter[0] != version:
            self._filter = (version, self.rules_part(node.slot))
        return self._filter[1]

    def owners(self, node: Node, seen: BitMap) -> set[int]:
        """Whose profiles belong in the map of a node with these peers: their owners' and its own."""
        owners = self.fragments.owners(seen)
        if node.user_id is not None:
            owners.add(node.user_id)
        return owners

    def _sum(self, node: Node, seen: BitMap, owners: Iterable[int]) -> bytes:
        total = self.fragments.digest(seen) + self._sum_beside_peers(node, owners)
        return (total & MASK).to_bytes(16, "big")

    def _sum_beside_peers(self, node: Node, owners: Iterable[int]) -> int:
        return self._shared_digest + self._own_digest(node) + sum(map(self.profiles.digest, owners))

    def _own_digest(self, node: Node) -> int:
        """What a node's own parts add to its digest. They follow from its row and from the filters' version."""
        version = (node.id, node.version, self._views.version)
        kept = self._own_digests.get(node.slot)
        if kept is None or kept[0] != version:
            total = sum(part_hash(name, part) for name, part in self.own_parts(node).items())
            kept = self._own_digests[node.slot] = (version, total)
        return kept[1]

    def _catch_up(self, node: Node, missed: Missed) -> bytes:
        """One delta over everything that a node missed."""
        seen = self._views.visible(node.slot)
        owners = self.owners(node, seen)
        peers: dict[int, bytes] = {}
        gone: list[int] = []
        for touched in missed.touched:
            other = self._state.nodes.get(touched)
            if other is not None and other.slot in seen:
                peers[touched] = self.fragments.one(other.slot)
            elif touched not in (0, node.id):
                gone.append(touched)
        shown = {self._state.nodes[peer].user_id for peer in peers} | missed.owners
        profiles = {user: self.profiles.part(user) for user in owners if user in shown}
        lost = tuple(sorted(user for user in missed.owners if user not in owners))
        parts = Parts(**self.own_parts(node), peers=peers, profiles=profiles)
        return delta_frame(self.position, parts, tuple(sorted(gone)), lost)
