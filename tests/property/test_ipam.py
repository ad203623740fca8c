"""The address bitmap against its twin."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ghostwire._native import ipam
from ghostwire.errors import ValidationError
from tests.reference import ipam as twin

DRAW = st.integers(0, 2**64 - 1)


class BitmapMachine(RuleBasedStateMachine):
    """Every answer is the twin's, and no index is handed out while somebody has it."""

    @initialize(size=st.integers(1, 300) | st.sampled_from([4095, 4096, 4097, 8200]))
    def start(self, size: int) -> None:
        self.size = size
        self.fast, self.slow = ipam.Bitmap(size), twin.Bitmap(size)
        self.held: set[int] = set()

    def claimed(self, index: int) -> None:
        if index >= 0:
            assert index not in self.held
            self.held.add(index)

    @rule(draw=DRAW)
    def claim_next(self, draw: int) -> None:
        index = self.fast.claim_next(draw % self.size)
        assert index == self.slow.claim_next(draw % self.size)
        self.claimed(index)

    @rule(draw=DRAW)
    def claim_random(self, draw: int) -> None:
        index = self.fast.claim_random(draw)
        assert index == self.slow.claim_random(draw)
        self.claimed(index)

    @rule(draw=DRAW)
    def claim(self, draw: int) -> None:
        index = draw % self.size
        granted = self.fast.claim(index)
        assert granted is self.slow.claim(index)
        if granted:
            self.claimed(index)

    @rule(draw=DRAW, held=st.booleans())
    def release(self, draw: int, held: bool) -> None:
        index = sorted(self.held)[draw % len(self.held)] if held and self.held else draw % self.size
        released = self.fast.release(index)
        assert released is self.slow.release(index)
        if released:
            self.held.remove(index)

    @rule(draw=DRAW, count=st.integers(1, 200))
    def reserve(self, draw: int, count: int) -> None:
        first = draw % self.size
        count = min(count, self.size - first)
        assert self.fast.reserve(first, count) == self.slow.reserve(first, count)

    @rule(draws=st.lists(DRAW, max_size=20), starts=st.lists(DRAW, max_size=20))
    def exhaust_and_release(self, draws: list[int], starts: list[int]) -> None:
        """Whole words become full and then have one free index each: every level above has to learn of it."""
        for index in range(self.size):
            self.claim(index)
        assert self.fast.claim_next() == -1
        for draw in draws:
            self.release(draw, held=True)
        for start in starts:
            self.claim_next(start)

    @rule(first=DRAW, count=DRAW)
    def fill(self, first: int, count: int) -> None:
        for index in range(first % self.size, min(self.size, first % self.size + count % 5000)):
            self.claim(index)

    @rule(
        index=st.sampled_from([-1, -(2**40)]) | st.integers(0, 5),
        method=st.sampled_from(["claim", "release", "reserve"]),
    )
    def outside(self, index: int, method: str) -> None:
        index = index if index < 0 else self.size + index
        with pytest.raises(ValidationError):
            getattr(self.fast, method)(index)

    @rule(draw=DRAW)
    def look(self, draw: int) -> None:
        index = draw % self.size
        assert self.fast.is_claimed(index) is self.slow.is_claimed(index)
        assert self.fast.is_reserved(index) is self.slow.is_reserved(index)

    @invariant()
    def same_count(self) -> None:
        assert self.fast.free == self.slow.free
        assert self.fast.size == self.size


BitmapMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBitmap = BitmapMachine.TestCase


@pytest.mark.parametrize("size", [0, -1, ipam.MAX_SIZE + 1])
def test_a_pool_has_a_possible_size(size: int) -> None:
    with pytest.raises(ValidationError):
        ipam.Bitmap(size)


def test_the_largest_pool_hands_out_its_last_address() -> None:
    pool = ipam.Bitmap(ipam.MAX_SIZE)
    assert pool.reserve(0, ipam.MAX_SIZE - 2) == ipam.MAX_SIZE - 2
    assert pool.claim_random(2**64 - 1) == ipam.MAX_SIZE - 1
    assert pool.claim_next(ipam.MAX_SIZE - 1) == ipam.MAX_SIZE - 2
    assert pool.claim_next() == -1
    assert pool.claim_random(0) == -1


def test_a_refused_reservation_changes_nothing() -> None:
    pool = ipam.Bitmap(100)
    with pytest.raises(ValidationError):
        pool.reserve(90, 11)
    with pytest.raises(ValidationError):
        pool.reserve(0, 0)
    assert pool.free == 100
