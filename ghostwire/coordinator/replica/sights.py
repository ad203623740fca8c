"""Sights: who sees whom, as groups and the rows between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

_NOBODY = BitMap()


class Sights:
    """The group of every present node, the members of groups, and for each group those that it sees.

    Rows are symmetric. Group 0 is nobody's.
    """

    def __init__(self) -> None:
        self._of: NDArray[np.uint32] = np.zeros(1024, dtype=np.uint32)
        self._members: dict[int, BitMap] = {}
        self._rows: dict[int, BitMap] = {}

    def slots(self) -> BitMap:
        """Where nodes are present."""
        return BitMap(np.flatnonzero(self._of).astype(np.uint32))

    def visible(self, slot: int) -> BitMap:
        """Whom a node sees: the members of every group in its group's row, but not itself."""
        sets = [self._members.get(group, _NOBODY) for group in self._rows.get(self._group(slot), _NOBODY)]
        found = BitMap.union(*sets) if sets else BitMap()
        found.discard(slot)
        return found

    def sees(self, slot: int, other: int) -> bool:
        """Whether two nodes see each other."""
        return slot != other and self._group(other) in self._rows.get(self._group(slot), _NOBODY)

    def enter(self, slot: int, group: int) -> None:
        """A node is in this group now; 0 where none is present."""
        before = self._group(slot)
        if before == group:
            return
        if before:
            members = self._members[before]
            members.discard(slot)
            if not members:
                del self._members[before]
        if slot >= len(self._of):
            grown = np.zeros(slot + slot // 4 + 64, dtype=np.uint32)
            grown[: len(self._of)] = self._of
            self._of = grown
        self._of[slot] = group
        if group:
            joined = self._members.get(group)
            if joined is None:
                joined = self._members[group] = BitMap()
            joined.add(slot)

    def group(self, slots: BitMap, group: int) -> None:
        """These nodes are in this group now."""
        for slot in slots:
            self.enter(slot, group)

    def set_row(self, group: int, row: BitMap) -> None:
        """A group sees exactly these, and these see it."""
        before = self._rows.get(group, _NOBODY)
        for other in before - row:
            if other != group:
                self._rows.get(other, BitMap()).discard(group)
        for other in row - before:
            if other != group:
                self._rows.setdefault(other, BitMap()).add(group)
        self._rows[group] = row

    def end_group(self, group: int) -> None:
        """A group is over."""
        self.set_row(group, BitMap())
        del self._rows[group]

    def _group(self, slot: int) -> int:
        return int(self._of[slot]) if slot < len(self._of) else 0
