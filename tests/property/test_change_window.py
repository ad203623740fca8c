"""What the window of changes says of single slots is what noting each slot by itself would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from ghostwire.coordinator.change_window import ChangeWindow
from ghostwire.model.position import Position

LOG, BOOT = b"l" * 16, b"b" * 16
ranges = st.builds(lambda first, size: set(range(first, first + size)), st.integers(0, 1500), st.integers(1, 300))
gaps = st.sets(st.integers(0, 1800), max_size=20)
affected = st.builds(lambda slots, but: slots - but, ranges, gaps) | st.sets(st.integers(0, 1800), max_size=40)


@given(st.lists(affected, max_size=12), st.sampled_from([2, 100]))
def test_each_slot_knows_its_last_change(changes: list[set[int]], size: int) -> None:
    window, last, places = ChangeWindow(LOG, BOOT, size), {}, []
    for number, slots in enumerate(changes, 1):
        places.append(Position(log=LOG, seq=number, boot=BOOT, vseq=0))
        window.add(places[-1], (number,), (), BitMap(slots))
        last.update(dict.fromkeys(slots, number))
    for slot in range(1801):
        assert window.last_change(slot) == last.get(slot, 0)
        for place in places:
            assert window.is_untouched(slot, place) == (last.get(slot, 0) <= place.seq)


@given(st.lists(affected, min_size=1, max_size=12))
def test_what_was_missed_is_what_came_after(changes: list[set[int]]) -> None:
    window = ChangeWindow(LOG, BOOT, 100)
    for number, slots in enumerate(changes, 1):
        window.add(Position(log=LOG, seq=number, boot=BOOT, vseq=0), (number,), (), BitMap(slots))
    for held in range(len(changes)):
        first = window.after(Position(log=LOG, seq=held, boot=BOOT, vseq=0))
        assert first == held + 1
        for slot in (0, 3, 700, 1800):
            missed = window.missed(slot, first)
            assert missed is not None
            assert missed.touched == {
                number for number in range(first, len(changes) + 1) if slot in changes[number - 1]
            }
