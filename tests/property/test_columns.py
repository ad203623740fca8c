"""Peers put into columns by compiled code = by the twin, whatever MessagePack maps they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghostwire._native import columns
from ghostwire.errors import WireError
from tests.reference import columns as twin

INTEGERS = st.integers(-(2**63), 2**64 - 1) | st.integers(-200, 70_000) | st.integers(2**61 - 2, 2**61 + 2)
VALUES: st.SearchStrategy[Any] = st.recursive(
    INTEGERS
    | st.binary(max_size=300)
    | st.binary(min_size=32, max_size=32)
    | st.text(max_size=40)
    | st.booleans()
    | st.none()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=4), inner, max_size=17),
    max_leaves=6,
)
NAMES = st.sampled_from(["id", "name", "key", "ipv4", "class", "tags", "online", "", "x" * 31, "\u00fc"])
ALIKE = st.lists(st.fixed_dictionaries({"id": INTEGERS, "key": st.binary(min_size=32, max_size=32)}), max_size=12)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=8), max_size=12) | ALIKE)
def test_columns_are_the_twins(peers: list[dict[str, Any]]) -> None:
    parts = [msgspec.msgpack.encode(peer) for peer in peers]
    assert columns.gather(parts) == twin.gather(parts)


def test_numbers_in_more_bytes_than_they_need_stay_as_they_are() -> None:
    for value in (
        b"\xcc\x7f",
        b"\xcd\x00\xff",
        b"\xd0\x05",
        b"\xd1\xff\xff",
        b"\xd3" + b"\xff" * 8,
        b"\xce\x00\x00\xff\xff",
    ):
        parts = [b"\x81\xa1a" + value, b"\x81\xa1a\x01"]
        assert columns.gather(parts) == twin.gather(parts)


def test_too_many_shapes_or_fields_make_no_columns() -> None:
    assert columns.gather([msgspec.msgpack.encode({f"k{number}": 1 for number in range(257)})]) is None
    names = "abcdefghijk"
    shapes = [
        msgspec.msgpack.encode(dict.fromkeys(name for bit, name in enumerate(names) if number >> bit & 1))
        for number in range(257)
    ]
    assert columns.gather(shapes) is None
    assert columns.gather(shapes[:256]) == twin.gather(shapes[:256])


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_or_read_alike(data: bytes) -> None:
    try:
        found = columns.gather([data])
    except WireError:
        return
    assert found is None or found == twin.gather([data])


@pytest.mark.parametrize(
    "data", [b"", b"\x81", b"\x81\xa1a", b"\x81\xa1a\xc1", b"\x80\x80", b"\x81\x01\x01", b"\x91\x01"]
)
def test_what_is_no_part_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="no MessagePack map"):
        columns.gather([data])
