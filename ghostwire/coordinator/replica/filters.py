"""Filters that nodes have in common, and the numbers that replicas know them by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap


@dataclass(slots=True)
class Filter:
    """A number, the encoded filter, and the slots of those who have it. A filter that nobody has is over."""

    number: int
    part: bytes
    slots: BitMap = field(default_factory=BitMap)


class Filters:
    """Which filter every present node has. Numbers are given once; `over` collects those that are."""

    def __init__(self) -> None:
        self.next = 1
        self.over: list[int] = []
        self._with: dict[bytes, Filter] = {}
        self._numbered: dict[int, Filter] = {}
        self._of: NDArray[np.uint32] = np.zeros(1024, dtype=np.uint32)

    def __iter__(self) -> Iterator[Filter]:
        return iter(self._numbered.values())

    def of(self, slot: int) -> Filter:
        """The filter of a node that is present."""
        return self._numbered[int(self._of[slot])]

    def since(self, number: int) -> list[Filter]:
        """The filters with this number or a higher one."""
        return [self._numbered[each] for each in range(number, self.next) if each in self._numbered]

    def set(self, slot: int, part: bytes | None) -> bool:
        """A node has this filter, or with None is not present; whether that is news."""
        before = self._numbered.get(int(self._of[slot])) if slot < len(self._of) else None
        if (None if before is None else before.part) == part:
            return False
        if before is not None:
            self._of[slot] = 0
            before.slots.discard(slot)
            if not before.slots:
                del self._with[before.part], self._numbered[before.number]
                self.over.append(before.number)
        if part is not None:
            found = self._with.get(part)
            if found is None:
                found = self._with[part] = self._numbered[self.next] = Filter(self.next, part)
                self.next += 1
            self._enter(slot, found)
        return True

    def _enter(self, slot: int, found: Filter) -> None:
        if slot >= len(self._of):
            grown = np.zeros(slot + slot // 4 + 64, dtype=np.uint32)
            grown[: len(self._of)] = self._of
            self._of = grown
        found.slots.add(slot)
        self._of[slot] = found.number
