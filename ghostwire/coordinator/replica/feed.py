"""Feed: tells replicas what has changed since it last told, and those who begin everything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from pyroaring import BitMap

from ghostwire.coordinator.change_window import Entry
from ghostwire.coordinator.core import Core
from ghostwire.coordinator.journal import Changed
from ghostwire.coordinator.replica import events as e
from ghostwire.coordinator.replica.filters import Filter, Filters
from ghostwire.coordinator.replica.groups import Group, Groups
from ghostwire.model.position import Position

PAGE: Final = 512
"""Events of one batch of a snapshot."""
SMALL: Final = 512
"""Bytes of a set of slots that are not worth a shorter way of saying who is in it."""


class Feed:
    """What a coordinator's replicas are told.

    Take what there is after each call of the coordinator: the batch comes before the effects that were emitted with it,
    and a replica's process carries out both in one go.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._views = core.views
        self._mapper = core.mapper
        self._groups = Groups()
        self._filters = Filters()
        self._engine = self._views.engine
        self._told = core.window.upcoming
        self._position = self._mapper.position
        self._views.journal.is_followed = True
        self._views.journal.take()
        self._regroup(Changed(moved=True))
        self._refilter(self._views.slots, BitMap())
        self._users = self._mapper.fragments.owners(self._views.slots)

    def take(self) -> e.Batch | None:
        """Everything since the last call, as one batch; None when nothing has moved."""
        changed = self._views.journal.take()
        found = (*(() if changed is None else self._events(changed)), *self._maps_changes())
        if not found and self._position == self._mapper.position:
            return None
        self._position = self._mapper.position
        return e.Batch(found, self._position)

    def snapshot(self) -> Iterator[e.Batch]:
        """All that a replica needs to begin, as of the last `take`, in batches that are made as they are asked for.

        What is taken meanwhile belongs behind it, in order: with the last of that the replica is where the feed is, and
        not before.
        """
        window, position = self._core.window, self._mapper.position
        begun = e.Begun(
            log=position.log,
            boot=position.boot,
            domain=self._core.settings.domain,
            shared=self._mapper.maps.shared,
            window=self._core.settings.window,
        )
        standing = self._standing(list(self._filters), list(self._groups), window.since(0))
        return _paged(begun, standing, position)

    def _standing(self, filters: list[Filter], groups: list[Group], entries: list[Entry]) -> Iterator[e.Event]:
        """What stands; of that, what still does when it is asked for."""
        slots, users = BitMap(self._views.slots), list(self._users)
        reaches, oldest = self._core.window.reaches(), self._core.window.oldest
        return chain(
            (e.FilterSet(found.number, found.part) for found in filters if found.slots),
            (e.ProfileSet(user, self._mapper.profile(user)) for user in users if user in self._users),
            (self._node_set(slot) for slot in slots if slot in self._views.slots),
            (self._row_set(group) for group in groups if group.members),
            (e.ChangesBegun(reaches, oldest),),
            (self._maps_changed(entry, entry.affected.serialize()) for entry in entries),
        )

    # What changed.

    def _events(self, changed: Changed) -> Iterator[e.Event]:
        slots = self._views.slots
        present, gone = changed.nodes & slots, changed.nodes - slots
        first_filter, first_group = self._filters.next, self._groups.next
        regrouped = self._regroup(changed)
        refiltered = self._refilter((changed.rules & slots) | present, gone)
        yield from (e.FilterSet(found.number, found.part) for found in self._filters.since(first_filter))
        yield from map(e.NodeGone, gone)
        for slot in present:
            owner = self._mapper.owner(slot)
            if owner and owner not in self._users:
                self._users.add(owner)
                yield e.ProfileSet(owner, self._mapper.profile(owner))
            yield self._node_set(slot)
        for slot in (changed.parts & slots) - present:
            yield e.NodeShown(slot, self._mapper.fragments.one(slot))
        yield from self._grouped(regrouped - present)
        yield from map(self._row_set, self._redrawn(first_group, changed.seeing & slots))
        yield from self._filtered(refiltered - present)
        yield from self._over()
        yield from self._profiles(changed.users)

    def _regroup(self, changed: Changed) -> BitMap:
        """Bring the groups up to date: who is in another one."""
        engine, slots = self._views.engine, self._views.slots
        moved = BitMap(slot for slot in changed.nodes - slots if self._groups.move(slot, None))
        if engine is not self._engine:
            self._engine = engine
            return self._groups.rename(engine.standpoints())
        standpoints = (
            engine.standpoints()
            if changed.moved
            else [(slot, engine.standpoint(slot)) for slot in (changed.nodes | changed.seeing) & slots]
        )
        moved.update(slot for slot, standpoint in standpoints if self._groups.move(slot, standpoint))
        return moved & slots

    def _refilter(self, slots: BitMap, gone: BitMap) -> BitMap:
        """Bring the filters of these up to date: who has another one."""
        for slot in gone:
            self._filters.set(slot, None)
        return BitMap(slot for slot in slots if self._filters.set(slot, self._mapper.filter_at(slot)))

    def _redrawn(self, first: int, seeing: BitMap) -> list[Group]:
        """The groups whose rows may be others: those that began, and those of nodes that see others."""
        fresh = self._groups.since(first)
        return fresh + [self._groups.get(number) for number in self._groups.numbers(seeing) if number < first]

    def _grouped(self, slots: BitMap) -> Iterator[e.Event]:
        for number in self._groups.numbers(slots):
            yield e.Grouped(number, (self._groups.get(number).members & slots).serialize())

    def _filtered(self, slots: BitMap) -> Iterator[e.Event]:
        for found in {self._filters.of(slot).number: self._filters.of(slot) for slot in slots}.values():
            yield e.Filtered(found.number, (found.slots & slots).serialize())

    def _over(self) -> Iterator[e.Event]:
        for number in self._groups.over:
            yield e.GroupGone(number)
        for number in self._filters.over:
            yield e.FilterGone(number)
        self._groups.over.clear()
        self._filters.over.clear()

    def _profiles(self, users: set[int]) -> Iterator[e.Event]:
        for user in users & self._users:
            if user in self._core.state.users:
                yield e.ProfileSet(user, self._mapper.profile(user))
            else:
                self._users.discard(user)
                yield e.ProfileGone(user)

    def _maps_changes(self) -> Iterator[e.Event]:
        """The changes of maps since the last ones told.

        Most are seen by whoever sees one node, and are told so where these are scattered.
        """
        window = self._core.window
        if self._told == window.upcoming:
            return
        if self._told < window.oldest:
            yield e.ChangesBegun(window.reaches(), window.oldest)
        for entry in window.since(self._told):
            affected = entry.affected.serialize()
            node = self._core.state.nodes.get(entry.touched[0]) if len(entry.touched) == 1 else None
            if node is None or len(affected) <= SMALL or self._mapper.peer_ids(node) != entry.affected:
                yield self._maps_changed(entry, affected)
            else:
                yield self._maps_changed(entry, None, node.slot)
        self._told = window.upcoming

    # Events.

    def _node_set(self, slot: int) -> e.Event:
        node, group = self._core.state.node_by_slot[slot], self._groups.of(slot)
        return e.NodeSet(
            slot=slot,
            id=node.id,
            owner=node.user_id or 0,
            group=0 if group is None else group.number,
            filter=self._filters.of(slot).number,
            key_expiry=node.key_expiry,
            peer=self._mapper.fragments.one(slot),
        )

    def _row_set(self, group: Group) -> e.Event:
        seen = self._engine.seen_from(group.members.min())
        return e.RowSet(group.number, self._groups.numbers(seen).serialize())

    def _maps_changed(self, entry: Entry, affected: bytes | None, seen: int = 0) -> e.Event:
        change = entry.number, entry.boot, entry.seq, entry.vseq, entry.touched, entry.owners
        return e.MapsChanged(*change, affected, seen)


def _paged(begun: e.Begun, standing: Iterator[e.Event], position: Position) -> Iterator[e.Batch]:
    yield e.Batch((begun,), None)
    while page := tuple(islice(standing, PAGE)):
        yield e.Batch(page, None)
    yield e.Batch((), position)
