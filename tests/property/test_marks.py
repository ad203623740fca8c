"""Marks by slot, noted for many slots at once, are those that are noted one by one."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire._native import marks
from ghostwire.errors import ValidationError
from tests.reference import marks as twin

NUMBERS = st.integers(0, 2**63 - 1)
RUNS = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 70)), max_size=6)
"""Where slots that lie side by side begin, and how many they are."""


def slots_of(runs: list[tuple[int, int]]) -> array[int]:
    return array("I", sorted({slot for first, count in runs for slot in range(first, first + count)}))


@given(st.integers(0, 500), st.integers(0, 500), st.lists(st.tuples(RUNS, NUMBERS, NUMBERS)))
def test_marks_are_those_of_the_twin(
    changed_room: int, reached_room: int, acts: list[tuple[list[tuple[int, int]], int, int]]
) -> None:
    ours = np.zeros(changed_room, dtype=np.int64), np.zeros(reached_room, dtype=np.int64)
    theirs = ours[0].copy(), ours[1].copy()
    for runs, number, position in acts:
        slots = slots_of(runs)
        if slots and slots[-1] >= min(changed_room, reached_room):
            for mark, arrays in ((marks.mark, ours), (twin.mark, theirs)):
                with pytest.raises(ValidationError, match="no room"):
                    mark(*arrays, slots, number, position)
            return
        marks.mark(*ours, slots, number, position)
        twin.mark(*theirs, slots, number, position)
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_slots_at_the_end_of_their_numbers_are_refused() -> None:
    arrays = np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.int64)
    for slots in ([2**32 - 1], [2**32 - 1, 0, 1]):
        with pytest.raises(ValidationError, match="no room"):
            marks.mark(*arrays, array("I", slots), 1, 1)
    assert not any(map(np.any, arrays))
