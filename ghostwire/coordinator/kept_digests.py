"""Digests that were computed once, by slot, with what they were computed for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Version = tuple[int, int, int]


class KeptDigests:
    """A 128-bit sum for each slot; one that was kept for another version is none."""

    def __init__(self) -> None:
        self._rows: NDArray[np.uint64] = np.zeros((0, 5), dtype=np.uint64)

    @property
    def rows(self) -> NDArray[np.uint64]:
        """By slot: the version's three numbers, the sum's high and low half. It grows, and is another then."""
        return self._rows

    def get(self, slot: int, version: Version) -> int | None:
        """The sum that was kept for this version."""
        if slot >= len(self._rows):
            return None
        a, b, c, high, low = self._rows[slot].tolist()
        return high << 64 | low if (a, b, c) == version else None

    def keep(self, slot: int, version: Version, total: int) -> None:
        """Keep the sum of a version, none of whose numbers is negative and not all are 0."""
        if slot >= len(self._rows):
            grown = np.zeros((slot + slot // 4 + 64, 5), dtype=np.uint64)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        self._rows[slot] = (*version, total >> 64, total & 0xFFFF_FFFF_FFFF_FFFF)
