"""The compiled reader and writer of WebSocket frames = their twins, for whatever bytes come, in whatever pieces."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ghostwire._native import frames
from ghostwire.errors import GhostwireError
from tests.reference import frames as twin

LIMIT = 300
OPCODES = st.sampled_from([0, 0, 1, 2, 2, 2, 2, 3, 8, 9, 10, 11])


@st.composite
def client_frame(draw: st.DrawFn) -> bytes:
    """A client's frame, mostly one that it may send."""
    first = draw(st.sampled_from([0x80, 0x80, 0x80, 0x00, 0x00, 0xC0])) | draw(OPCODES)
    payload = draw(st.binary(max_size=140) | st.binary(min_size=120, max_size=LIMIT + 20))
    said = draw(st.sampled_from([len(payload)] * 20 + [len(payload) + 1, LIMIT + 1, 1 << 40, (1 << 64) - 1]))
    masked = draw(st.sampled_from([0x80] * 15 + [0]))
    if said < 126:
        head = bytes((first, masked | said))
    elif said < 1 << 16:
        head = bytes((first, masked | 126)) + said.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + said.to_bytes(8, "big")
    return head + draw(st.binary(min_size=4, max_size=4)) + payload


def read(reader: Any, pieces: list[bytes], *, whole: bool = False) -> list[Any]:
    """What is read; where asked for, messages that came alone are taken as such."""
    found: list[Any] = []
    for piece in pieces:
        if whole and (message := reader.whole(piece)) is not None:
            found.append((2, message))
            continue
        reader.feed(piece)
        try:
            while (one := reader.poll()) is not None:
                found.append((int(one[0]), one[1]))
        except GhostwireError as error:
            return [*found, (type(error), error.message)]
    return found


@given(st.lists(client_frame(), max_size=8), st.lists(st.integers(0, 3000), max_size=12))
def test_what_comes_is_read_as_by_the_twin(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    expected = read(twin.Reader(LIMIT), pieces)
    assert read(frames.Reader(LIMIT), pieces) == expected
    assert read(frames.Reader(LIMIT), pieces, whole=True) == expected
    assert read(twin.Reader(LIMIT), pieces, whole=True) == expected


@given(client_frame(), st.binary(max_size=3))
def test_a_message_that_came_alone_is_told_as_by_the_twin(sent: bytes, before: bytes) -> None:
    ours, theirs = frames.Reader(LIMIT), twin.Reader(LIMIT)
    for reader in (ours, theirs):
        reader.feed(before)
    assert ours.whole(sent) == theirs.whole(sent)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_are_read_as_by_the_twin(data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    expected = read(twin.Reader(LIMIT), pieces)
    assert read(frames.Reader(LIMIT), pieces) == expected
    assert read(frames.Reader(LIMIT), pieces, whole=True) == expected
    assert read(twin.Reader(LIMIT), pieces, whole=True) == expected


@given(st.binary(max_size=300) | st.integers(65_530, 65_540).map(bytes), st.sampled_from([2, 8, 9, 10]))
def test_frames_are_written_as_by_the_twin(payload: bytes, opcode: int) -> None:
    assert frames.frame(payload, opcode) == twin.frame(payload, twin.Opcode(opcode))
