"""Groups: the nodes that see from one standpoint, and the numbers that replicas know them by."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from ghostwire.policy import Standpoint


@dataclass(slots=True)
class Group:
    """A number, a standpoint, and the slots of those who stand there. A group without members is over."""

    number: int
    standpoint: Standpoint
    members: BitMap = field(default_factory=BitMap)


class Groups:
    """Which group every present node is in. Numbers are given once; `over` collects those that are."""

    def __init__(self) -> None:
        self.next = 1
        self.over: list[int] = []
        self._at: dict[Standpoint, Group] = {}
        self._numbered: dict[int, Group] = {}
        self._of: NDArray[np.uint32] = np.zeros(1024, dtype=np.uint32)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._numbered.values())

    def get(self, number: int) -> Group:
        """The group of this number, which is not over."""
        return self._numbered[number]

    def of(self, slot: int) -> Group | None:
        """The group of a node that is present."""
        return self._numbered.get(int(self._of[slot])) if slot < len(self._of) else None

    def numbers(self, slots: BitMap) -> BitMap:
        """The numbers of these nodes' groups."""
        if not slots:
            return BitMap()
        known = np.asarray(slots.to_array())
        numbers = np.sort(self._of[known[known < len(self._of)]])
        found = BitMap(array("I", numbers.tobytes()))
        found.discard(0)
        return found

    def since(self, number: int) -> list[Group]:
        """The groups with this number or a higher one."""
        return [self._numbered[each] for each in range(number, self.next) if each in self._numbered]

    def rename(self, standpoints: Iterable[tuple[int, Standpoint]]) -> BitMap:
        """Standpoints mean something else from here on, and these are all of them: who is in another group now.

        Those who stand together as before go on as the same group.
        """
        standing: dict[Standpoint, BitMap] = {}
        for slot, standpoint in standpoints:
            standing.setdefault(standpoint, BitMap()).add(slot)
        self._at.clear()
        moved: list[tuple[Standpoint, BitMap]] = []
        for standpoint, members in standing.items():
            group = self.of(members.min())
            if group is not None and group.members == members:
                group.standpoint = standpoint
                self._at[standpoint] = group
            else:
                moved.append((standpoint, members))
        kept = {group.number for group in self._at.values()}
        for number in self._numbered.keys() - kept:
            self.over.append(number)
            # A snapshot that is under way passes over it.
            self._numbered[number].members.clear()
        self._numbered = {number: group for number, group in self._numbered.items() if number in kept}
        for standpoint, members in moved:
            group = self._begin(standpoint)
            group.members |= members
            self._make_room(members.max())
            self._of[np.asarray(members.to_array())] = group.number
        return BitMap.union(BitMap(), *(members for _, members in moved))

    def move(self, slot: int, standpoint: Standpoint | None) -> bool:
        """A node stands here now, or with None nowhere; whether it has moved."""
        left = self.of(slot)
        if (None if left is None else left.standpoint) == standpoint:
            return False
        if left is not None:
            self._of[slot] = 0
            left.members.discard(slot)
            if not left.members:
                del self._at[left.standpoint], self._numbered[left.number]
                self.over.append(left.number)
        if standpoint is not None:
            group = self._at.get(standpoint)
            self._enter(slot, self._begin(standpoint) if group is None else group)
        return True

    def _begin(self, standpoint: Standpoint) -> Group:
        group = self._at[standpoint] = self._numbered[self.next] = Group(self.next, standpoint)
        self.next += 1
        return group

    def _enter(self, slot: int, group: Group) -> None:
        self._make_room(slot)
        group.members.add(slot)
        self._of[slot] = group.number

    def _make_room(self, slot: int) -> None:
        if slot >= len(self._of):
            grown = np.zeros(slot + slot // 4 + 64, dtype=np.uint32)
            grown[: len(self._of)] = self._of
            self._of = grown
