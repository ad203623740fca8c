"""NetworkMapper: every node's map, whole or as what changed, from fragments that are encoded once.

No map is kept. A change is encoded once for everyone who sees it the same way, and what it costs depends on who is
affected: on finding them, that is, since they all share the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.change_window import ChangeWindow
from ghostwire.coordinator.counters import Counters
from ghostwire.coordinator.effects import MapFrom, Push
from ghostwire.coordinator.fragments import MASK, Fragments, Profiles, peer_part, self_part
from ghostwire.coordinator.kept_digests import KeptDigests
from ghostwire.coordinator.liveness import HeartbeatMonitor
from ghostwire.coordinator.map_pages import MapParts, MapPlan, delta_frame, full_frames
from ghostwire.coordinator.maps import Maps
from ghostwire.coordinator.pacing import Pacer
from ghostwire.coordinator.settings import Settings
from ghostwire.coordinator.state import State
from ghostwire.coordinator.views import Views
from ghostwire.model.node import Node
from ghostwire.model.position import Position
from ghostwire.wire.messages import Parts
from ghostwire.wire.netmap import Dns, Network, Relays, encode_part, part_hash

RECENT_FILTERS: Final = 256
"""Nodes whose filters are kept for those who ask again."""


class Brought(NamedTuple):
    """What a node is to be sent of its map: `frames`, or what is `left` to a replica."""

    frames: Iterable[bytes]
    left: MapFrom | None


class NetworkMapper:
    """Maps by slot. `position` is where the coordinator stands; every frame names it.

    With `defers`, maps of single nodes are left to replicas.
    """

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
        self.defers = False
        self.fragments = Fragments(views.journal)
        self.pacer = Pacer(0.0)
        self.profiles = Profiles(state.users, views.journal)
        self.position = Position(log=b"", seq=0, boot=b"", vseq=0)
        self.maps = Maps(self, self.fragments, window)
        self._own_digests = KeptDigests()
        self._filters: dict[int, tuple[tuple[int, int], bytes]] = {}

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
        self.maps.share(
            {
                "dns": encode_part(Dns(domain=settings.domain)),
                "relays": encode_part(Relays()),
                "network": encode_part(network),
            }
        )
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
        return self.maps.parts(node.slot)

    def bring(self, node: Node, held: Position | None) -> Brought:
        """Bring a node from the position that it holds to this one: by frames, or by what stands for them."""
        if not self.defers:
            return Brought(self.resume(node, held), None)
        self.pacer.caught_up(node.slot)
        return Brought((), MapFrom(held))

    def renew(self, node: Node) -> Brought:
        """What brings a node a whole map, as it is when that is sent."""
        return self.bring(node, None) if self.defers else Brought(self._full_then(node.id), None)

    def _full_then(self, node_id: int) -> Iterator[bytes]:
        node = self._state.nodes.get(node_id)
        if node is not None and node.slot in self._views.slots:
            yield from self.full(node)

    def full(self, node: Node) -> Iterator[bytes]:
        """The frames of a node's whole map as it is now, each made when it is asked for."""
        self.pacer.caught_up(node.slot)
        self._counters.maps["full"] += 1
        return self._pages(self.maps.plan(node.slot))

    def _pages(self, plan: MapPlan) -> Iterator[bytes]:
        pages = 0
        for frame in full_frames(plan, self.fragments.arena):
            pages += 1
            yield frame
        self._counters.observer.netmap_built(len(plan.peers), pages)

    def digest(self, node: Node) -> bytes:
        """The digest of a node's current map; computed once after each change to it."""
        return self.maps.digest(node.slot)

    def resume(self, node: Node, held: Position | None) -> Iterable[bytes]:
        """The frames that bring a node from the position that it holds to this one."""
        self.pacer.caught_up(node.slot)
        found = self.maps.resume(node.slot, held)
        if found is None:
            return self.full(node)
        self._counters.maps[found.how] += 1
        return (found.frame,)

    def peer_ids(self, node: Node) -> BitMap:
        """The slots of a node's peers."""
        return self._views.visible(node.slot) if node.slot in self._views.slots else BitMap()

    # Changes.

    def push(self, slots: BitMap, parts: Parts, gone: tuple[int, ...], gone_profiles: tuple[int, ...]) -> None:
        """Send a delta to these nodes at once, and with it what waits for any of them."""
        if not slots:
            return
        for batch in self.pacer.hurry(slots, gone):
            self._emit_delta(batch.slots, self._joined(parts, batch.nodes), gone, gone_profiles)

    def show(self, node: Node, viewers: BitMap) -> None:
        """Show a present node as it is now: at once to who has heard nothing in this window, later to the others."""
        now = self.pacer.show(node.id, node.slot, viewers)
        if now:
            self._emit_delta(now, self.alone(node), (), ())

    def arrive(self, node: Node, viewers: BitMap) -> None:
        """Show a node that has come, as `show` does."""
        now = self.pacer.come(node.id, node.slot, viewers, self._views.sight)
        if now:
            self._emit_delta(now, self.alone(node), (), ())

    def alone(self, node: Node) -> Parts:
        """A present node with its owner's profile."""
        profiles = {} if node.user_id is None else {node.user_id: self.profiles.part(node.user_id)}
        return Parts(peers={node.id: self.fragments.one(node.slot)}, profiles=profiles)

    def close_window(self) -> None:
        """Send what has waited, each node as it is now."""
        for batch in self.pacer.close():
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

    # What maps are made of.

    def visible(self, slot: int) -> BitMap:
        """The peers of a present node."""
        return self._views.visible(slot)

    def owner(self, slot: int) -> int:
        """The user who owns a present node, 0 for none."""
        return self.fragments.arena.owner(slot)

    def own_parts(self, slot: int) -> dict[str, bytes]:
        """A present node's `self` and `filter`, encoded."""
        node = self._state.node_by_slot[slot]
        return {"self": self_part(node, self._views.class_of(slot)), "filter": self.filter_part(node)}

    def own_digest(self, slot: int) -> int:
        """What a present node's own parts add to its digest. They follow from its row and from the filters' version."""
        node = self._state.node_by_slot[slot]
        version = (node.id, node.version, self._views.version)
        found = self._own_digests.get(slot, version)
        if found is None:
            found = sum(part_hash(name, part) for name, part in self.own_parts(slot).items()) & MASK
            self._own_digests.keep(slot, version, found)
        return found

    def profile(self, user: int) -> bytes:
        """What peers are shown of an owner."""
        return self.profiles.part(user)

    def profile_digest(self, user: int) -> int:
        """What that adds to a digest."""
        return self.profiles.digest(user)

    def filter_at(self, slot: int) -> bytes:
        """The `filter` of the node that is present in a slot."""
        return self.filter_part(self._state.node_by_slot[slot])

    def filter_part(self, node: Node) -> bytes:
        """A node's inbound filter, and until when it sees whom, encoded.

        The last ones are kept: what happens to a node asks for its filter several times in a row.
        """
        version = (node.version, self._views.version)
        found = self._filters.get(node.id)
        if found is None or found[0] != version:
            if len(self._filters) >= RECENT_FILTERS:
                self._filters.clear()
            found = self._filters[node.id] = (version, self._views.outlook.part(node.slot))
        return found[1]
