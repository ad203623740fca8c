"""Pacer: who is told of a change at once, and who with everything else that happens in the same window.

A node hears of the first change in a window at once and of all later ones in one message at its end, each of them as it
is then: newest state wins. What takes something away never waits. It takes along what waits for the same nodes, because
every message names the position that its reader then holds.

Nodes that come one after another to those who see each other make a *cohort*: all who wait for one of them are told of
all of them, also those who came in between and have the first ones in their maps. Said twice does no harm, and one
message serves them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from pyroaring import BitMap

WIDEST: Final = 10.0
"""How much longer than the shortest a window becomes."""
MESSAGES_PER_S: Final = 20_000
"""What windows are widened for: so many messages a second are a third of one core, most of it the kernel's."""

LATEST: Final = 4
"""Cohorts that whoever comes may join: those of so many places where nodes come at the same time."""


class Batch(NamedTuple):
    """These slots are to be told of these nodes (by id), perhaps of themselves, in one message for all of them."""

    slots: BitMap
    nodes: tuple[int, ...]


@dataclass(slots=True)
class _Shown:
    """A node that changed: its own slot, and who waits to be told of it."""

    slot: int
    viewers: BitMap


@dataclass(slots=True)
class _Cohort:
    """Nodes that came, and who waits for any of them, who sees all of them.

    Who comes `next` to these very viewers, under the same `sight`, belongs to it. None where nobody does any more.
    """

    nodes: list[int]
    viewers: BitMap
    next: BitMap | None
    sight: int

    def release(self, slots: BitMap) -> None:
        """These do not wait any more. Whoever comes later is not to be told to them with what they know."""
        if self.viewers.intersect(slots):
            self.viewers -= slots
            self.next = None


class Pacer:
    """One coordinator's windows. All windows are the same for everyone, so that one message serves many.

    `shortest_s` is how long one lasts without load, 0 for no windows: each change is told by itself. `length_s` is how
    long the one that is open lasts, `windows` how many have begun: so many messages a node gets at most, beside those
    that may not wait.
    """

    def __init__(self, shortest_s: float) -> None:
        self.length_s = self._shortest_s = shortest_s
        self.windows = 0
        self._told = BitMap()
        self._waiting: dict[int, _Shown] = {}
        self._cohorts: list[_Cohort] = []
        self._held = BitMap()

    @property
    def is_open(self) -> bool:
        """Whether there is a window, which has to end."""
        return bool(self._told)

    @property
    def waiting(self) -> int:
        """How many nodes wait for its end."""
        return len(self._held)

    def show(self, node: int, slot: int, viewers: BitMap) -> BitMap:
        """A node with this slot has changed in a way that may wait: who of its viewers is to be told now."""
        if not self._shortest_s:
            return viewers
        later = viewers & self._told
        self._count(viewers)
        if later:
            shown = self._waiting.get(node)
            if shown is None:
                self._waiting[node] = _Shown(slot, later)
            else:
                shown.viewers |= later
            self._held |= later
        return viewers - later

    def come(self, node: int, slot: int, viewers: BitMap, sight: int) -> BitMap:
        """A node with this slot has come: who of its viewers is to be told now. Its map is its own first message.

        `sight` is another number whenever anyone may have ceased to see someone: a cohort is of one.
        """
        if not self._shortest_s:
            return viewers
        later = viewers & self._told
        self._count(viewers)
        if self._told:
            self._told.add(slot)
        if later:
            self._join(node, slot, later, sight)
            self._held |= later
        return viewers - later

    def _join(self, node: int, slot: int, later: BitMap, sight: int) -> None:
        """Put a node that has come into the cohort that these wait for, or into one of its own."""
        onward = later.copy()
        onward.add(slot)
        for cohort in self._cohorts[: -LATEST - 1 : -1]:
            if cohort.next == later and cohort.sight == sight:
                cohort.nodes.append(node)
                cohort.viewers, cohort.next = later, onward
                return
        self._cohorts.append(_Cohort([node], later, onward, sight))

    def hurry(self, slots: BitMap, gone: Collection[int]) -> list[Batch]:
        """These are told something that may not wait, and that some nodes are gone: what each is told with it."""
        if self._shortest_s:
            self._count(slots)
        behind = slots & self._held
        if not behind:
            return [Batch(slots, ())]
        batches = [batch for batch in self._batches(behind, gone) if batch.nodes]
        self._release(behind)
        rest = slots - BitMap.union(*(batch.slots for batch in batches)) if batches else slots
        return [*batches, Batch(rest, ())] if rest else batches

    def caught_up(self, slot: int) -> None:
        """The node in this slot is sent its map as it is now: nothing waits for it."""
        if slot in self._held:
            self._release(BitMap([slot]))

    def forget(self, slot: int) -> None:
        """The node in this slot is gone, another may come into it."""
        self.caught_up(slot)
        self._told.discard(slot)

    def close(self) -> list[Batch]:
        """The window ends: what is to be told now, which is the first message of the next window."""
        batches = list(self._batches(self._held))
        wanted = len(self._told) / MESSAGES_PER_S
        self.length_s = min(max(wanted, self._shortest_s), WIDEST * self._shortest_s)
        told, self._told, self._held = self._held, BitMap(), BitMap()
        self._count(told)
        self._waiting.clear()
        self._cohorts.clear()
        return batches

    def _count(self, slots: BitMap) -> None:
        """These are told something in this window, which begins with that where none is open."""
        if slots and not self._told:
            self.windows += 1
        self._told |= slots

    def _release(self, slots: BitMap) -> None:
        self._held -= slots
        for shown in self._waiting.values():
            shown.viewers -= slots
        for cohort in self._cohorts:
            cohort.release(slots)

    def _batches(self, among: BitMap, gone: Collection[int] = ()) -> Iterator[Batch]:
        """What each of these waits for, but for what is gone. Who waits for the same shares a batch.

        Nodes of one view are seen by the same others, each but for itself. So a node is put among its own viewers,
        which makes their sets equal; it leaves out what it is told of itself.
        """
        alike: dict[bytes, tuple[BitMap, list[int]]] = {}
        changed = (([node], one.viewers, one.slot) for node, one in self._waiting.items())
        came = ((cohort.nodes, cohort.viewers, None) for cohort in self._cohorts)
        for nodes, waiting, own in chain(changed, came):
            viewers = waiting & among
            if viewers:
                if own is not None:
                    viewers.add(own)
                alike.setdefault(viewers.serialize(), (viewers, []))[1].extend(nodes)
        sets = list(alike.values())
        for piece, holders in _pieces([viewers for viewers, _ in sets]):
            told = piece & among
            if told:
                shown = {node for holder in holders for node in sets[holder][1]}
                yield Batch(told, tuple(sorted(shown.difference(gone))))


def _pieces(sets: list[BitMap]) -> Iterator[tuple[BitMap, list[int]]]:
    """The disjoint pieces that sets cut each other into, and by number which sets hold each piece.

    Each set splits the pieces so far: its elements get a new label for each old one that they had. Views that have
    nobody in common, which is most of them, are pieces as they are.
    """
    union = BitMap.union(BitMap(), *sets)
    if len(union) == sum(map(len, sets)):
        yield from ((each, [number]) for number, each in enumerate(sets))
        return
    labels = np.zeros(union.max() + 1, dtype=np.int64)
    parents, holders = [0], [-1]
    for number, each in enumerate(sets):
        elements = np.frombuffer(each.to_array(), dtype=np.uint32)
        before, which = np.unique(labels[elements], return_inverse=True)
        labels[elements] = len(parents) + which
        parents += before.tolist()
        holders += [number] * len(before)
    elements = np.frombuffer(union.to_array(), dtype=np.uint32)
    order = np.argsort(labels[elements], kind="stable")
    found, starts = np.unique(labels[elements][order], return_index=True)
    for label, piece in zip(found.tolist(), np.split(elements[order], starts[1:]), strict=True):
        held_by = []
        while label:
            held_by.append(holders[label])
            label = parents[label]
        yield BitMap(piece), held_by
