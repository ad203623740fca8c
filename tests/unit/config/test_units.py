import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire.errors import ValidationError
from ghostwire.server.config.units import parse_duration, parse_size, spell_duration, spell_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("24h", 86400), ("1h30m", 5400), ("7d", 604800), ("250ms", 0.25), ("15", 15), ("0", 0), ("off", 0),
     (" 2 h ", 7200), ("1.5h", 5400), ("10min", 600)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "30x", "-5s", "3s!", "1h,2m", "nan", "1e9", "99999999999d", "h30"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ValidationError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("256MB", 256 * 2**20), ("1GiB", 2**30), ("64k", 65536), ("0", 0), ("12b", 12), ("1.5kb", 1536)]
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MB", "3 XB", "-1", "1 2", "99999999TB"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValidationError, match="size"):
        parse_size(text)


@given(st.integers(0, 3_000_000_000))
def test_spelt_durations_read_back(seconds: int) -> None:
    assert parse_duration(spell_duration(float(seconds))) == seconds


@given(st.integers(0, 2**62))
def test_spelt_sizes_read_back(count: int) -> None:
    # Sizes of many digits pass through a float, which is exact where the unit divides them.
    if count < 2**53:
        assert parse_size(spell_size(count)) == count
