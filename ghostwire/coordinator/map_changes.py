"""What one committed change of a node does to maps: who is told what, each of them in exactly one frame.

One frame a viewer and change, because a frame moves its viewer's position: a second one at the same position, lost
with the connection, would never be missed.
"""

from __future__ import annotations

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.census import policy_facts
from ghostwire.coordinator.change_window import ChangeWindow
from ghostwire.coordinator.fragments import self_part
from ghostwire.coordinator.maps import LARGEST_DELTA
from ghostwire.coordinator.network_mapper import NetworkMapper
from ghostwire.coordinator.views import Views
from ghostwire.model.node import Node
from ghostwire.wire.messages import Parts


class _Sight(msgspec.Struct, frozen=True):
    """What a node saw, and showed of itself to itself, at one moment. Absent nodes see nothing."""

    node: Node | None
    peers: BitMap
    owners: set[int]
    self: bytes | None
    filter: bytes | None


class MapChanges:
    """Follows committed changes of nodes through views and fragments to frames."""

    def __init__(self, mapper: NetworkMapper, views: Views, window: ChangeWindow) -> None:
        self._mapper = mapper
        self._views = views
        self._window = window

    def node_changed(self, old: Node | None, new: Node | None) -> bool:
        """A node came, changed, expired or went; whether any map changed. The position has moved already."""
        old = None if old is None or old.expired else old
        new = None if new is None or new.expired else new
        present = new or old
        if present is None:
            return False
        slot = present.slot
        self._views.journal.node(slot)
        if old is None and new is not None:
            self._came(new)
            return True
        before = self._sight(old)
        retold = self._move(old, new)
        if new is None:
            self._mapper.fragments.drop(slot)
            self._mapper.pacer.forget(slot)
            shown = True
        else:
            shown = self._mapper.refresh(new)
        after = self._sight(new)
        viewers = (before.peers | after.peers if shown else before.peers ^ after.peers) | retold
        if viewers:
            owners = {node.user_id for node in (old, new) if node is not None and node.user_id is not None}
            self._window.add(self._mapper.position, (present.id,), tuple(sorted(owners)), viewers)
            self._tell_viewers(before, after, shown, retold)
        return self._tell_itself(before, after) or bool(viewers)

    def _came(self, node: Node) -> None:
        """A node came: those who see it are shown it. Its own map begins, which only a whole one tells."""
        retold = self._views.place(None, node)
        self._mapper.refresh(node)
        peers = self._views.visible(node.slot)
        viewers = peers | retold if retold else peers
        position = self._mapper.position
        if viewers:
            owners = () if node.user_id is None else (node.user_id,)
            self._window.add(position, (node.id,), owners, viewers)
            # It takes nothing away from anyone: it may wait, unless filters are told with it.
            self._mapper.arrive(node, peers - retold if retold else peers)
            if retold:
                self._push(peers & retold, self._mapper.alone(node), (), (), retold)
                self._push(retold - peers, Parts(), (), (), retold)
        self._window.add(position, (), (), BitMap([node.slot]))

    def _move(self, old: Node | None, new: Node | None) -> BitMap:
        """Follow in the views; whose filter may be another now."""
        if new is None:
            return self._views.remove(old) if old is not None else BitMap()
        if old is not None and policy_facts(old) == policy_facts(new):
            return BitMap()
        return self._views.place(old, new)

    def _sight(self, node: Node | None) -> _Sight:
        if node is None:
            return _Sight(None, BitMap(), set(), None, None)
        peers = self._views.visible(node.slot)
        owners = self._mapper.fragments.owners(peers)
        if node.user_id is not None:
            owners.add(node.user_id)
        own = self_part(node, self._views.class_of(node.slot))
        return _Sight(node, peers, owners, own, self._mapper.filter_part(node))

    def _tell_viewers(self, before: _Sight, after: _Sight, shown: bool, retold: BitMap) -> None:
        """Everyone but the node itself: its part set or gone, its old owner gone, their own filter set."""
        gained = after.peers if shown else after.peers - before.peers
        lost = before.peers - after.peers
        parts = Parts()
        gone: tuple[int, ...] = ()
        if after.node is not None and gained:
            parts = self._mapper.alone(after.node)
        if before.node is not None:
            gone = (before.node.id,)
        orphaned, dropped = self._orphaned(before, after, lost)
        for viewers, shown_parts, gone_peers in (
            (gained, parts, ()),
            (lost, Parts(), gone),
            (retold - gained - lost, Parts(), ()),
        ):
            if viewers:
                self._push(viewers & orphaned, shown_parts, gone_peers, dropped, retold)
                self._push(viewers - orphaned, shown_parts, gone_peers, (), retold)

    def _orphaned(self, before: _Sight, after: _Sight, lost: BitMap) -> tuple[BitMap, tuple[int, ...]]:
        """Those who see no node of the old owner any more, and who that was."""
        owner = None if before.node is None else before.node.user_id
        if owner is None:
            return BitMap(), ()
        kept = after.node is not None and after.node.user_id == owner
        unsure = lost if kept else before.peers
        return unsure - self._mapper.viewers_of(owner, unsure), (owner,)

    def _push(
        self, viewers: BitMap, parts: Parts, gone: tuple[int, ...], dropped: tuple[int, ...], retold: BitMap
    ) -> None:
        """One frame for all of these, except those whose filter is told with it: they share one a filter."""
        self._mapper.push(viewers - retold, parts, gone, dropped)
        by_filter: dict[bytes, BitMap] = {}
        for slot in viewers & retold:
            by_filter.setdefault(self._mapper.filter_at(slot), BitMap()).add(slot)
        for rules, slots in by_filter.items():
            self._mapper.push(slots, msgspec.structs.replace(parts, filter=rules), gone, dropped)

    def _tell_itself(self, before: _Sight, after: _Sight) -> bool:
        """The node's own frame; whether its own map changed at all. One that went has no map."""
        node = after.node
        if node is None:
            return False
        gained = after.peers - before.peers
        lost = before.peers - after.peers
        own = after.self if after.self != before.self else None
        rules = after.filter if after.filter != before.filter else None
        if not (gained or lost or own or rules):
            return False
        moved = self._mapper.fragments.ids(gained | lost)
        owners = before.owners ^ after.owners
        touched = (node.id, *sorted(moved)) if len(moved) <= LARGEST_DELTA else ()
        self._window.add(self._mapper.position, touched, tuple(sorted(owners)), BitMap([node.slot]))
        parts = Parts(
            self=own,
            filter=rules,
            peers=self._mapper.fragments.of(gained),
            profiles={user: self._mapper.profiles.part(user) for user in sorted(after.owners - before.owners)},
        )
        gone = tuple(sorted(self._mapper.fragments.ids(lost)))
        self._mapper.push(BitMap([node.slot]), parts, gone, tuple(sorted(before.owners - after.owners)))
        return True
