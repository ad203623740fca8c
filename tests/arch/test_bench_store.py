"""The table of the store's speed names benchmarks that there are, and says of each figure what its bound says."""

from bench import store
from bench.cases import cases
from bench.store import Found, Row


def test_every_line_has_its_benchmark() -> None:
    named = [row.case for row in store.rows()]
    nouns = {name.partition(".")[0] for name in named}
    there = {case.name for noun in nouns for case in cases(f"{noun}.")}
    assert set(named) <= there
    assert len(named) == len(set(named))


def test_bounds_hold_up_to_themselves() -> None:
    least, most, none = Row("a", "a.A.a", ">=", 3.0), Row("a", "a.A.a", "<=", 3.0), Row("a", "a.A.a")
    assert [Found(row, 3.0).holds for row in (least, most, none)] == [True, True, True]
    assert [Found(row, 2.9).holds for row in (least, most, none)] == [False, True, True]
    assert [Found(row, 3.1).holds for row in (least, most, none)] == [True, False, True]
    assert "MISSED" in store.table([Found(least, 2.0), Found(none, 2.0)]).splitlines()[1]
