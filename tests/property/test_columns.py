"""Peers put into columns and back by compiled code = by the twin, whatever MessagePack maps they are."""

from __future__ import annotations

from types import ModuleType
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


PEERS = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 2**40)}, optional={"key": st.binary(min_size=32, max_size=32), "x" * 40: VALUES}
    ),
    max_size=12,
)
MOST = 1 << 20


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=8), max_size=12) | PEERS)
def test_parts_come_back_to_the_byte(peers: list[dict[str, Any]]) -> None:
    parts = [msgspec.msgpack.encode({**peer, "id": number}) for number, peer in enumerate(peers)]
    gathered = columns.gather(parts)
    assert gathered is not None
    assert columns.scatter(*gathered, MOST) == twin.scatter(*gathered, MOST) == dict(enumerate(parts))


def scattered(by: ModuleType, *table: Any) -> dict[int, bytes] | None:
    try:
        found: dict[int, bytes] = by.scatter(*table)
    except WireError:
        return None
    return found


TABLE = st.tuples(
    st.lists(st.lists(st.sampled_from(["id", "name", "class"]), max_size=3).map(tuple), max_size=3),
    st.lists(st.integers(0, 2), max_size=4).map(bytes),
    st.dictionaries(
        st.sampled_from(["id", "name", "class"]),
        st.tuples(
            st.integers(0, 3),
            st.lists(INTEGERS | st.text(max_size=3), max_size=4).map(msgspec.msgpack.encode)
            | st.lists(INTEGERS, max_size=4).map(msgspec.msgpack.encode)
            | st.binary(min_size=64, max_size=64)
            | st.binary(max_size=6),
        ),
    ),
    st.integers(0, 90),
)


@given(TABLE)
def test_what_is_no_table_is_refused_or_read_alike(table: tuple[Any, ...]) -> None:
    assert scattered(columns, *table) == scattered(twin, *table)


@given(PEERS.filter(bool), st.data())
def test_a_page_that_was_tampered_with_is_refused_or_read_alike(
    peers: list[dict[str, Any]], data: st.DataObject
) -> None:
    gathered = columns.gather(map(msgspec.msgpack.encode, peers))
    assert gathered is not None
    shapes, numbers, found = gathered
    key = data.draw(st.sampled_from(sorted(found)))
    kind, values = found[key]
    at = data.draw(st.integers(0, len(values)))
    cut = values[:at] + data.draw(st.binary(max_size=2)) + values[at + data.draw(st.integers(0, 2)) :]
    table = shapes, numbers, {**found, key: (data.draw(st.sampled_from([kind, 0, 1, 2])), cut)}, MOST
    assert scattered(columns, *table) == scattered(twin, *table)


@pytest.mark.parametrize(
    "value", [b"\xcc\x05", b"\xcd\x00\x05", b"\xce\x00\x00\x00\x05", b"\xd0\x05", b"\xd3" + bytes(7) + b"\x05"]
)
def test_numbers_may_come_in_more_bytes_than_they_need(value: bytes) -> None:
    table = [("id",)], b"\0", {"id": (1, b"\x91" + value)}, MOST
    assert columns.scatter(*table) == twin.scatter(*table) == {5: b"\x81\xa2id\x05"}


@pytest.mark.parametrize("number", [-(2**63), -1, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_differences_reach_every_integer(number: int) -> None:
    table = [("id",)], b"\0", {"id": (1, msgspec.msgpack.encode([number]))}, MOST
    assert columns.scatter(*table) == twin.scatter(*table) == {number: b"\x81\xa2id" + msgspec.msgpack.encode(number)}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (1, msgspec.msgpack.encode([2**64 - 1, 1])),
        (1, msgspec.msgpack.encode([-(2**63), -1])),
        (0, msgspec.msgpack.encode([1.0])),
        (0, msgspec.msgpack.encode(["1"])),
        (2, bytes(31)),
        (1, b""),
        (0, b"\xdd\xff\xff\xff\xff"),
    ],
)
def test_what_names_no_peer_is_refused(kind: int, data: bytes) -> None:
    for by in (columns, twin):
        assert scattered(by, [("id",)], b"\0", {"id": (kind, data)}, MOST) is None
