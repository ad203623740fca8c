"""What a replica holds of each node beside its part and its group, in arrays by slot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SlotTable:
    """The number of each node's filter, and when its key expires (UTC nanoseconds, 0 for never)."""

    def __init__(self) -> None:
        self._filters: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        self._expiries: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def set(self, slot: int, filter: int, key_expiry: int) -> None:
        """Set both of a node."""
        if slot >= len(self._filters):
            more = slot + slot // 4 + 64 - len(self._filters)
            self._filters = np.append(self._filters, np.zeros(more, dtype=np.uint32))
            self._expiries = np.append(self._expiries, np.zeros(more, dtype=np.int64))
        self._filters[slot], self._expiries[slot] = filter, key_expiry

    def filter(self, slot: int) -> int:
        """The number of a node's filter."""
        return int(self._filters[slot])

    def key_expiry(self, slot: int) -> int:
        """When a node's key expires."""
        return int(self._expiries[slot])
