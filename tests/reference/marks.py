"""Twin of `core_ext.marks`: slot by slot."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from ghostwire.errors import ValidationError


def mark(changed: NDArray[np.int64], reached: NDArray[np.int64], slots: array[int], number: int, position: int) -> None:
    """Note a change and its position for these slots, which ascend. Raises `ValidationError` without room for one."""
    for slot in slots:
        if slot >= len(changed) or slot >= len(reached):
            raise ValidationError("there is no room for a mark at one of the slots")
        changed[slot], reached[slot] = number, position
