"""The timer wheel against its twin."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ghostwire._native import timers
from ghostwire.errors import ValidationError
from tests.reference import timers as twin

KEY = st.integers(0, 40) | st.sampled_from([-(2**63), 2**63 - 1])
DELAY = st.integers(-5, 130) | st.integers(0, 300_000) | st.integers(0, 2**61)
FAR = 2**62


class WheelMachine(RuleBasedStateMachine):
    """Every answer is the twin's; `next_wake` is early at most, and following it reaches every deadline."""

    @initialize(now=st.integers(0, 200) | st.integers(0, 2**61))
    def start(self, now: int) -> None:
        self.fast, self.slow = timers.TimerWheel(now), twin.TimerWheel(now)

    @rule(key=KEY, delay=DELAY)
    def schedule(self, key: int, delay: int) -> None:
        deadline = min(max(0, self.slow.now + delay), FAR)
        self.fast.schedule(key, deadline)
        self.slow.schedule(key, deadline)
        assert self.fast.deadline(key) == deadline

    @rule(delays=st.dictionaries(KEY, st.integers(-9, 2) | st.integers(0, 200), max_size=30))
    def schedule_many(self, delays: dict[int, int]) -> None:
        for key, delay in delays.items():
            self.schedule(key, delay)

    @rule(key=KEY)
    def cancel(self, key: int) -> None:
        assert self.fast.cancel(key) is self.slow.cancel(key)
        assert key not in self.fast

    @rule(delay=DELAY)
    def advance(self, delay: int) -> None:
        now = min(self.slow.now + delay, FAR)
        assert self.fast.advance(now) == self.slow.advance(now)

    @rule()
    def follow_wakes(self) -> None:
        """At most one wake a level of the wheel until the earliest deadline is reached."""
        earliest = self.slow.next_deadline()
        for _ in range(12):
            wake = self.fast.next_wake()
            assert wake == self.slow.next_wake() or self.fast.now < wake < earliest
            due = self.fast.advance(wake)
            assert due == self.slow.advance(wake)
            if due or earliest == -1:
                return
        raise AssertionError("following next_wake did not reach the deadline")

    @rule(key=KEY)
    def look(self, key: int) -> None:
        assert self.fast.deadline(key) == self.slow.deadline(key)
        assert (key in self.fast) is (key in self.slow)

    @invariant()
    def same_state(self) -> None:
        assert len(self.fast) == len(self.slow)
        assert self.fast.now == self.slow.now
        assert self.fast.next_deadline() == self.slow.next_deadline()

    def teardown(self) -> None:
        if hasattr(self, "fast"):
            assert self.fast.advance(FAR) == self.slow.advance(FAR)
            assert len(self.fast) == 0


WheelMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestWheel = WheelMachine.TestCase


def test_ticks_are_not_negative() -> None:
    with pytest.raises(ValidationError):
        timers.TimerWheel(-1)
    with pytest.raises(ValidationError):
        timers.TimerWheel().schedule(1, -1)


def test_the_last_tick_can_be_reached() -> None:
    wheel = timers.TimerWheel()
    wheel.schedule(1, 2**63 - 1)
    assert wheel.advance(2**63 - 2) == []
    assert wheel.next_deadline() == 2**63 - 1
    assert wheel.advance(2**63 - 1) == [1]
