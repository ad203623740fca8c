"""The numbers under which maps know classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class ClassNumbers:
    """The numbers that maps know classes by. They outlive restarts and policies as long as they stay true.

    The engine numbers classes as it likes, anew with each build; a number in a map must go on meaning nodes that the
    policy does not tell apart, or a filter that a node already holds would let others in. So each node has a number,
    all nodes with one number are of one class, and a class may have several. No number is given twice.
    """

    def __init__(self, first: int) -> None:
        self._fresh = [first]
        self.turn = 0
        """Moves whenever another class has a number, or one has it no longer."""
        self._of: NDArray[np.uint32] = np.zeros(1024, dtype=np.uint32)
        self._class: NDArray[np.uint32] = np.zeros(1024, dtype=np.uint32)
        self._within: dict[int, dict[int, int]] = {}
        self._inhabited: dict[tuple[int, ...], tuple[int, ...]] = {}

    @classmethod
    def carry(cls, first: int, engine_class: Mapping[int, int], known: Mapping[int, int]) -> ClassNumbers:
        """Numbers for an engine's classes (by slot), as far as possible those `known` (by slot).

        Where the nodes of one number are no longer of one class, it stays with the class that most of them are in.
        """
        fresh = cls(first)
        spread: dict[int, dict[int, int]] = {}
        for slot, found in engine_class.items():
            counts = spread.setdefault(known.get(slot, 0), {})
            counts[found] = counts.get(found, 0) + 1
        home = {number: max(counts, key=counts.__getitem__) for number, counts in spread.items() if number}
        for slot, found in engine_class.items():
            number = known.get(slot, 0)
            if number and home[number] == found:
                fresh._enter(slot, found, number)
        for slot, found in engine_class.items():
            if not fresh.number(slot):
                fresh.enter(slot, found)
        return fresh

    def number(self, slot: int) -> int:
        """The number of a node's class, 0 for a node that is not present."""
        return int(self._of[slot]) if slot < len(self._of) else 0

    def all(self) -> dict[int, int]:
        """The number of every present node, by slot."""
        return by_slot(self._of)

    def copied(self) -> NDArray[np.uint32]:
        """The same as they are now, as an array with 0 where nobody is."""
        return self._of.copy()

    @property
    def next(self) -> int:
        """The next number to be given."""
        return self._fresh[0]

    def set_aside(self, count: int) -> int:
        """Give so many numbers to nobody; the first of them."""
        first = self._fresh[0]
        self._fresh[0] += count
        return first

    def take_back(self, first: int, count: int, given: int) -> None:
        """Of numbers that were set aside only so many were given: the others are to be, unless some were meanwhile."""
        if self._fresh[0] == first + count:
            self._fresh[0] = first + given

    def give_like(self, other: ClassNumbers) -> None:
        """Give the numbers from here on that the other would give: none is given twice."""
        self._fresh = other._fresh

    def inhabited(self, engine_classes: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers of an engine's classes, sorted; a class without members has none."""
        numbers = self._inhabited.get(engine_classes)
        if numbers is None:
            numbers = tuple(sorted(number for found in engine_classes for number in self._within.get(found, ())))
            self._inhabited[engine_classes] = numbers
        return numbers

    def enter(self, slot: int, engine_class: int) -> bool:
        """A node is in the class, under a number that the class has or a fresh one; whether it is the first."""
        within = self._within.get(engine_class)
        if within:
            self._enter(slot, engine_class, next(iter(within)))
            return False
        self._enter(slot, engine_class, self.set_aside(1))
        return True

    def place(self, slot: int, engine_class: int) -> bool:
        """A node is in this class now; whether a number came or went with that."""
        number = self.number(slot)
        if number and int(self._class[slot]) == engine_class:
            return False
        gone = number > 0 and self.leave(slot)
        return self.enter(slot, engine_class) or gone

    def engine_class(self, slot: int) -> int:
        """The engine's class that a present node is in."""
        return int(self._class[slot])

    def leave(self, slot: int) -> bool:
        """A node is no longer in its class; whether a number went with it."""
        number, engine_class = int(self._of[slot]), int(self._class[slot])
        self._of[slot] = 0
        within = self._within[engine_class]
        within[number] -= 1
        if within[number]:
            return False
        del within[number]
        self._turn()
        if not within:
            del self._within[engine_class]
        return True

    def _enter(self, slot: int, engine_class: int, number: int) -> None:
        if slot >= len(self._of):
            self._of, self._class = (_grown(known, slot) for known in (self._of, self._class))
        self._of[slot], self._class[slot] = number, engine_class
        within = self._within.setdefault(engine_class, {})
        members = within.get(number, 0)
        within[number] = members + 1
        if not members:
            self._turn()

    def _turn(self) -> None:
        self.turn += 1
        self._inhabited.clear()


def by_slot(numbers: NDArray[np.uint32]) -> dict[int, int]:
    """Numbers in an array by their places; 0 is none."""
    slots = np.flatnonzero(numbers)
    return dict(zip(slots.tolist(), numbers[slots].tolist(), strict=True))


def _grown(known: NDArray[np.uint32], slot: int) -> NDArray[np.uint32]:
    found = np.zeros(slot + slot // 4 + 64, dtype=np.uint32)
    found[: len(known)] = known
    return found
