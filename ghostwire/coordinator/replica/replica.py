"""Replica: what maps are made of, as a feed tells it, and the same answers that the coordinator would give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.change_window import ChangeWindow, Entry
from ghostwire.coordinator.fragments import MASK, Fragments
from ghostwire.coordinator.journal import Journal
from ghostwire.coordinator.map_pages import full_frames
from ghostwire.coordinator.maps import Maps
from ghostwire.coordinator.replica import events as e
from ghostwire.coordinator.replica.sights import Sights
from ghostwire.coordinator.replica.slot_table import SlotTable
from ghostwire.errors import NotFoundError, ResourceExhaustedError, WireError
from ghostwire.model.position import Position
from ghostwire.wire.messages import MAX_SERVER_FRAME
from ghostwire.wire.netmap import Peer, SelfNode, encode_part, part_hash

_ROOM: Final = 4096
"""Bytes of a frame beside the peers in it."""
_peer = msgspec.msgpack.Decoder(Peer)


class Known(NamedTuple):
    """A node that is present. `owner` is 0 for none, `key_expiry` UTC nanoseconds, 0 for never."""

    id: int
    slot: int
    owner: int
    key_expiry: int


class Replica:
    """Every present node's map, by slot, as of `position`: whole, from a position on, its digest, its peers.

    Methods that name a slot are about nodes that are present; `node` says who is.
    """

    def __init__(self) -> None:
        self.position = Position(log=b"", seq=0, boot=b"", vseq=0)
        self._begin(e.Begun(b"", b"", "", {}, 1))
        self._handlers: dict[type, Callable[[Any], None]] = {
            e.Begun: self._begin,
            e.NodeSet: self._set_node,
            e.NodeShown: self._show_node,
            e.NodeGone: self._drop_node,
            e.Grouped: lambda event: self._sights.group(BitMap.deserialize(event.slots), event.group),
            e.RowSet: lambda event: self._sights.set_row(event.group, BitMap.deserialize(event.row)),
            e.GroupGone: lambda event: self._sights.end_group(event.group),
            e.FilterSet: self._set_filter,
            e.Filtered: self._refilter,
            e.FilterGone: self._drop_filter,
            e.ProfileSet: self._set_profile,
            e.ProfileGone: self._drop_profile,
            e.MapsChanged: self._change_maps,
            e.ChangesBegun: self._begin_changes,
        }

    def apply(self, batch: e.Batch) -> None:
        """Follow one batch. Raises `WireError` where one before it is missing: a snapshot is needed then."""
        for event in batch.events:
            self._handlers[type(event)](event)
        if batch.position is not None:
            self.position = batch.position

    # Maps.

    def full(self, slot: int) -> Iterator[bytes]:
        """The frames of a node's whole map as it is now, each made when it is asked for."""
        return full_frames(self.maps.plan(slot), self._fragments.arena)

    def resume(self, slot: int, held: Position | None) -> Iterable[bytes]:
        """The frames that bring a node from the position that it holds to this one."""
        found = self.maps.resume(slot, held)
        return self.full(slot) if found is None else (found.frame,)

    def digest(self, slot: int) -> bytes:
        """The digest of a node's map."""
        return self.maps.digest(slot)

    # Questions.

    def __len__(self) -> int:
        return len(self._fragments.arena)

    def slots(self) -> BitMap:
        """Where nodes are present."""
        return self._sights.slots()

    def node(self, slot: int) -> Known | None:
        """The node in a slot, if one is present."""
        arena = self._fragments.arena
        if slot not in arena:
            return None
        return Known(arena.id(slot), slot, arena.owner(slot), self._table.key_expiry(slot))

    def by_key(self, node_key: bytes) -> Known | None:
        """The present node that has this key."""
        slot = self._by_key.get(node_key)
        return None if slot is None else self.node(slot)

    def peers(
        self, slot: int, node: int | None = None, name: str | None = None, address: str | None = None
    ) -> tuple[bytes, ...]:
        """Peers of a node's own view, encoded as in its map: the one that is named, or all of them.

        What lies outside the view is refused exactly like what does not exist, with `NotFoundError`. Raises
        `ResourceExhaustedError` when all of them are more than one frame holds.
        """
        if node is not None:
            found = self._fragments.among(self.visible(slot), {node})
            return (self._fragments.one(found.min()),) if found else _no_peer()
        if name is None and address is None:
            seen = self.visible(slot)
            if self._fragments.size(seen) + _ROOM > MAX_SERVER_FRAME:
                raise ResourceExhaustedError("there are more peers than one answer holds: name one")
            return tuple(self._fragments.of(seen).values())
        if name is not None:
            other = self._by_name.get(name.removesuffix(f".{self._domain}"))
        else:
            other = self._by_address.get(address or "")
        if other is None or not self._sights.sees(slot, other):
            _no_peer()
        return (self._fragments.one(other),)

    # What maps are made of.

    def visible(self, slot: int) -> BitMap:
        """The peers of a node."""
        return self._sights.visible(slot)

    def owner(self, slot: int) -> int:
        """The user who owns a node, 0 for none."""
        return self._fragments.arena.owner(slot)

    def own_parts(self, slot: int) -> dict[str, bytes]:
        """A node's `self`, which follows from what its peers are shown, and its `filter`."""
        shown = _peer.decode(self._fragments.one(slot))
        own = SelfNode(
            id=shown.id,
            name=shown.name,
            key=shown.key,
            ipv4=shown.ipv4,
            ipv6=shown.ipv6,
            class_id=shown.class_id,
            owner=shown.owner,
            tags=shown.tags,
            routes=shown.routes,
            key_expiry=self._table.key_expiry(slot),
        )
        return {"self": encode_part(own), "filter": self._filters[self._table.filter(slot)][0]}

    def own_digest(self, slot: int) -> int:
        """What a node's `self` and `filter` add to its digest."""
        own = part_hash("self", self.own_parts(slot)["self"])
        return own + self._filters[self._table.filter(slot)][1] & MASK

    def profile(self, user: int) -> bytes:
        """What peers are shown of an owner."""
        return self._profiles[user][0]

    def profile_digest(self, user: int) -> int:
        """What that adds to a digest."""
        return self._profiles[user][1]

    # Events.

    def _begin(self, event: e.Begun) -> None:
        self._domain = event.domain
        self._fragments = Fragments(Journal())
        self._sights = Sights()
        self._table = SlotTable()
        self._by_key: dict[bytes, int] = {}
        self._by_name: dict[str, int] = {}
        self._by_address: dict[str, int] = {}
        self._filters: dict[int, tuple[bytes, int]] = {}
        self._profiles: dict[int, tuple[bytes, int]] = {}
        self.maps = Maps(self, self._fragments, ChangeWindow(event.log, event.boot, event.window))
        self.maps.share(event.shared)

    def _set_node(self, event: e.NodeSet) -> None:
        slot = event.slot
        self._leave_indexes(slot)
        self._fragments.put(slot, event.id, event.owner, event.peer)
        self._table.set(slot, event.filter, event.key_expiry)
        self._sights.enter(slot, event.group)
        shown = _peer.decode(event.peer)
        self._by_key[shown.key] = self._by_name[shown.name] = slot
        self._by_address[shown.ipv4] = self._by_address[shown.ipv6] = slot

    def _show_node(self, event: e.NodeShown) -> None:
        arena = self._fragments.arena
        self._fragments.put(event.slot, arena.id(event.slot), arena.owner(event.slot), event.peer)

    def _drop_node(self, event: e.NodeGone) -> None:
        self._leave_indexes(event.slot)
        self._fragments.drop(event.slot)
        self._sights.enter(event.slot, 0)

    def _leave_indexes(self, slot: int) -> None:
        part = self._fragments.arena.part(slot)
        if part is None:
            return
        shown = _peer.decode(part)
        _leave(self._by_key, shown.key, slot)
        _leave(self._by_name, shown.name, slot)
        _leave(self._by_address, shown.ipv4, slot)
        _leave(self._by_address, shown.ipv6, slot)

    def _set_filter(self, event: e.FilterSet) -> None:
        self._filters[event.filter] = event.part, part_hash("filter", event.part)

    def _drop_filter(self, event: e.FilterGone) -> None:
        self._filters.pop(event.filter, None)

    def _refilter(self, event: e.Filtered) -> None:
        for slot in BitMap.deserialize(event.slots):
            self._table.set(slot, event.filter, self._table.key_expiry(slot))

    def _set_profile(self, event: e.ProfileSet) -> None:
        self._profiles[event.user] = event.part, part_hash(f"profile/{event.user}", event.part)

    def _drop_profile(self, event: e.ProfileGone) -> None:
        self._profiles.pop(event.user, None)

    def _begin_changes(self, event: e.ChangesBegun) -> None:
        self.maps.window.begin(event.reaches, event.upcoming)
        self.maps.forget_digests()

    def _change_maps(self, event: e.MapsChanged) -> None:
        window = self.maps.window
        if event.number != window.upcoming:
            raise WireError(f"change {event.number} of maps came where number {window.upcoming} was due")
        affected = self.visible(event.seen) if event.affected is None else BitMap.deserialize(event.affected)
        window.follow(Entry(event.number, event.boot, event.seq, event.vseq, event.touched, event.owners, affected))


def _leave(index: dict[Any, int], key: bytes | str, slot: int) -> None:
    """Forget an entry unless another node has taken its place."""
    if index.get(key) == slot:
        del index[key]


def _no_peer() -> NoReturn:
    raise NotFoundError("there is no such peer")
