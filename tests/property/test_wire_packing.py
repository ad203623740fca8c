"""Packed messages: what goes in comes out to the byte, nothing else does, and bombs are refused by their size."""

from __future__ import annotations

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bench.pages import page
from ghostwire.errors import WireError
from ghostwire.wire import codec, packing
from ghostwire.wire.columns import Column, Columns, restore, transpose
from ghostwire.wire.messages import MAX_SERVER_FRAME, MapColumns, MapFull
from ghostwire.wire.packed_map import packed, plain_page

words = st.text(max_size=12)
numbers = st.integers(0, 2**64 - 1)
parts = st.builds(
    lambda id, rest: msgspec.msgpack.encode({**rest, "id": id}),
    st.integers(0, 2**63),
    st.dictionaries(
        words,
        numbers | st.integers(-(2**63), -1) | words | st.binary(min_size=32, max_size=32) | st.booleans() | st.none(),
        max_size=20,
    ),
)


def unpacked(frame: bytes) -> MapFull:
    message = codec.decode_from_server(packing.unpack_message(frame, MAX_SERVER_FRAME))
    if isinstance(message, MapColumns):
        message = plain_page(message)
    assert isinstance(message, MapFull)
    return message


@given(st.lists(parts, max_size=40, unique_by=lambda part: msgspec.msgpack.decode(part)["id"]))
def test_columns_give_back_the_bytes_that_went_in(found: list[bytes]) -> None:
    columns = transpose(found)
    assert columns is not None
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(columns), type=Columns)
    assert list(restore(again, MAX_SERVER_FRAME).values()) == found


def test_values_that_are_not_written_in_the_shortest_way_stay_so() -> None:
    part = b"\x82\xa2id\xcd\x00\x07\xa3key\xc5\x00\x20" + bytes(32)
    columns = transpose([part] * 1)
    assert columns is not None
    assert restore(columns, 1000) == {7: part}


def test_more_shapes_than_a_byte_counts_are_left_as_they_are() -> None:
    assert transpose(msgspec.msgpack.encode({"id": n, f"k{n}": 1}) for n in range(257)) is None


@given(st.binary(max_size=3000))
def test_messages_come_back(message: bytes) -> None:
    if not message.startswith(bytes([packing.MARK])):
        assert packing.unpack_message(packing.pack_message(message), len(message)) == message


@pytest.mark.parametrize(("first", "count"), [(1, 201), (30_151, 201), (1, 512)])
def test_nine_tenths_of_a_map_without_its_keys_are_saved(first: int, count: int) -> None:
    plain = page(first, count)
    sent = packed(plain)
    assert unpacked(sent) == codec.decode_from_server(plain)
    keys = 32 * count
    assert 1 - (len(sent) - keys) / (len(plain) - keys) >= 0.9


def test_a_page_of_few_peers_is_packed_as_a_whole() -> None:
    assert unpacked(packed(page(5, 3))) == codec.decode_from_server(page(5, 3))


def test_what_claims_to_be_larger_than_may_be_is_not_unpacked() -> None:
    bomb = bytes([packing.MARK]) + zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
    assert len(bomb) < 30_000
    with pytest.raises(WireError, match="its size"):
        packing.unpack_message(bomb, MAX_SERVER_FRAME)
    silent = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    with pytest.raises(WireError, match="its size"):
        packing.unpack(silent.compress(bytes(1 << 22)) + silent.flush(), MAX_SERVER_FRAME)


def test_few_bytes_of_columns_cannot_become_many() -> None:
    wide = Columns((("x" * 100_000, "id"),), packing.pack(bytes(60_000)), {})
    ids = Column(1, packing.pack(msgspec.msgpack.encode([1] * 60_000)))
    nothing = Column(0, packing.pack(msgspec.msgpack.encode([0] * 60_000)))
    columns = msgspec.structs.replace(wide, columns={"x" * 100_000: nothing, "id": ids})
    with pytest.raises(WireError, match="more than"):
        restore(columns, MAX_SERVER_FRAME)


@given(st.data())
def test_a_torn_frame_is_refused_or_another_map(data: st.DataObject) -> None:
    frame = bytearray(packed(page(1, 30)))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(1, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpacked(bytes(frame))
    except WireError as error:
        assert str(error)


tables = st.builds(
    Columns,
    st.lists(st.lists(st.sampled_from(["id", "key", "name"]), max_size=3).map(tuple), max_size=3).map(tuple),
    st.binary(max_size=6).map(packing.pack) | st.binary(max_size=20),
    st.dictionaries(
        st.sampled_from(["id", "key", "name"]),
        st.builds(
            Column,
            st.integers(0, 3),
            st.lists(st.integers(-(2**63), 2**64 - 1) | words, max_size=6).map(msgspec.msgpack.encode).map(packing.pack)
            | st.binary(max_size=70),
        ),
    ),
)


@given(tables)
def test_any_table_is_peers_or_a_clear_error(columns: Columns) -> None:
    try:
        restore(columns, 10_000)
    except WireError as error:
        assert str(error)
