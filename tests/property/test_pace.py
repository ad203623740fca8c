"""The compiled bucket = its twin, for whatever comes when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ghostwire._native import pace
from tests.reference import pace as twin

moments = st.lists(st.tuples(st.floats(0, 2), st.sampled_from([0.0, 0.0, 0.0, 0.5, 30.0])), max_size=150)


@given(moments, st.floats(0.5, 20), st.integers(1, 10))
def test_frames_are_let_in_as_the_twin_does(moments: list[tuple[float, float]], rate: float, burst: int) -> None:
    buckets = pace.Bucket(rate, burst, 1.0), twin.Bucket(rate, burst, 1.0)
    paces = pace.Pace(rate, burst, 1.0), twin.Pace(rate, burst, 1.0)
    now = 1.0
    for pause, dear in moments:
        now += pause / rate
        assert buckets[0].take(now) == buckets[1].take(now)
        assert paces[0].take(now) == paces[1].take(now)
        for one in (*buckets, *paces):
            one.charge(dear)
