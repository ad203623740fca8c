"""Filters that nodes have in common, and the numbers that replicas know them by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

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
        self._of: dict[int, Filter] = {}

    def __iter__(self) -> Iterator[Filter]:
        return iter(self._with.values())

    def of(self, slot: int) -> Filter:
        """The filter of a node that is present."""
        return self._of[slot]

    def since(self, number: int) -> list[Filter]:
        """The filters with this number or a higher one, in order."""
        newest = takewhile(lambda found: found.number >= number, reversed(self._with.values()))
        return list(newest)[::-1]

    def set(self, slot: int, part: bytes | None) -> bool:
        """A node has this filter, or with None is not present; whether that is news."""
        before = self._of.get(slot)
        if (None if before is None else before.part) == part:
            return False
        if before is not None:
            del self._of[slot]
            before.slots.discard(slot)
            if not before.slots:
                del self._with[before.part]
                self.over.append(before.number)
        if part is not None:
            found = self._with.get(part)
            if found is None:
                found = self._with[part] = Filter(self.next, part)
                self.next += 1
            found.slots.add(slot)
            self._of[slot] = found
        return True
