"""The gate of ratios: what falls short is named, what is measured again and reaches its bound is not."""

from typing import Any, ClassVar

import pytest

from bench.cases import Case, cases
from ci.perf_gate import ATTEMPTS, main, short_of


class Measured:
    """Ratios that come one after the other."""

    at_least: ClassVar = {"track_twin": 10.0}
    ratios: ClassVar[list[float]] = []
    set_up: ClassVar[list[Any]] = []

    def setup(self, *params: Any) -> None:
        self.set_up.append(params)

    def track_twin(self, *params: Any) -> float:
        return self.ratios.pop(0)

    def track_other(self, *params: Any) -> float:
        raise AssertionError("nothing is demanded of it")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> type[Measured]:
    monkeypatch.setattr(Measured, "ratios", [])
    monkeypatch.setattr(Measured, "set_up", [])
    return Measured


def test_a_ratio_that_falls_short_each_time_is_named(measured: type[Measured]) -> None:
    measured.ratios[:] = [9.9] * ATTEMPTS
    found = [Case("noun.Measured.track_other", measured, "track_other"), Case("named", measured, "track_twin")]
    assert short_of(found) == ["named"]
    assert not measured.ratios


def test_one_that_noise_pressed_down_is_measured_again(measured: type[Measured]) -> None:
    measured.ratios[:] = [3.0, 10.0, 2.0]
    assert not short_of([Case("named", measured, "track_twin")])
    assert measured.ratios == [2.0]


def test_what_cases_share_is_set_up_once(measured: type[Measured]) -> None:
    measured.ratios[:] = [11.0] * 3
    found = [
        Case(name, measured, "track_twin", params) for name, params in (("a", ("x",)), ("b", ("x",)), ("c", ("y",)))
    ]
    assert not short_of(found)
    assert measured.set_up == [("x",), ("y",)]


def test_twins_and_libraries_are_what_is_demanded() -> None:
    """Where a bound stands there is a benchmark with that name."""
    demanded = {case.name for case in cases() if case.at_least is not None}
    for family in {case.family for case in cases()}:
        for method in getattr(family, "at_least", {}):
            assert any(name.endswith(f"{family.__name__}.{method}") for name in demanded)
    assert {name.partition(".")[0] for name in demanded} >= {"policy", "cidr", "prefixes"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ratios", "--case", "cidr.Nothing"), "no case has a ratio to reach"),
        (("--ratios", "--case", "cidr.Match"), "no case has a ratio to reach"),
        (("--base", "HEAD", "--case", "cidr.Nothing"), "no case is guarded"),
    ],
)
def test_where_nothing_is_measured_nothing_passes(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["perf_gate", *arguments])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
