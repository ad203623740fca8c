"""WebSocket frames: what a client may send, in any pieces, and what it may not."""

from __future__ import annotations

import contextlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import CLIENT
from websockets.streams import StreamReader

from ghostwire.errors import ResourceExhaustedError, WireError
from ghostwire.server.session.frames import Opcode, Reader, close_frame, frame

LIMIT = 64 * 1024


def masked(payload: bytes, opcode: int = Opcode.BINARY, *, fin: bool = True) -> bytes:
    return Frame(TheirOpcode(opcode), payload, fin=fin).serialize(mask=True)


def read_all(reader: Reader) -> list[tuple[int, bytes]]:
    found = []
    while (one := reader.poll()) is not None:
        found.append(one)
    return found


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.integers(1, 5000))
def test_what_a_public_library_sends_is_read_in_any_pieces(messages: list[bytes], piece: int) -> None:
    reader = Reader(100_000)
    data = b"".join(map(masked, messages))
    found = []
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
        found += read_all(reader)
    assert found == [(Opcode.BINARY, message) for message in messages]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_what_is_sent_is_read_by_a_public_library(size: int) -> None:
    payload = secrets.token_bytes(size)
    stream = StreamReader()
    stream.feed_data(frame(payload))
    parsing = Frame.parse(stream.read_exact, mask=False, max_size=None)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert done.value.value == Frame(TheirOpcode.BINARY, payload)
    assert CLIENT


def test_fragments_become_one_message_with_a_ping_between() -> None:
    reader = Reader(LIMIT)
    reader.feed(masked(b"one ", fin=False) + masked(b"?", Opcode.PING) + masked(b"two", Opcode.CONTINUATION))
    assert read_all(reader) == [(Opcode.PING, b"?"), (Opcode.BINARY, b"one two")]


def test_fragments_are_bounded_in_sum() -> None:
    reader = Reader(10)
    reader.feed(masked(b"123456", fin=False) + masked(b"78901", Opcode.CONTINUATION))
    with pytest.raises(ResourceExhaustedError):
        read_all(reader)


@pytest.mark.parametrize(
    "data",
    [
        frame(b"unmasked"),
        bytes([0x80 | 0x40 | 2, 0x80]) + bytes(4),
        bytes([0x83, 0x80]) + bytes(4),
        masked(b"text", Opcode.TEXT),
        masked(b"", Opcode.CONTINUATION),
        masked(b"a", fin=False) + masked(b"b"),
        masked(b"a", fin=False) + masked(b"", Opcode.CONTINUATION, fin=False),
        bytes([0x09, 0x80]) + bytes(4),
        bytes([0x89, 0xFE]) + bytes(6),
    ],
    ids=["unmasked", "rsv", "reserved", "text", "lone", "interleaved", "empty", "split-ping", "long-ping"],
)
def test_what_the_protocol_forbids_is_refused(data: bytes) -> None:
    reader = Reader(LIMIT)
    reader.feed(data)
    with pytest.raises(WireError):
        read_all(reader)


def test_a_length_is_refused_before_its_bytes_come() -> None:
    reader = Reader(LIMIT)
    reader.feed(bytes([0x82, 0xFF]) + (2**63).to_bytes(8, "big"))
    with pytest.raises(ResourceExhaustedError):
        reader.poll()


@given(st.binary(max_size=500))
def test_any_bytes_end_in_messages_or_in_an_error_of_the_tree(data: bytes) -> None:
    reader = Reader(100)
    reader.feed(data)
    with contextlib.suppress(WireError, ResourceExhaustedError):
        read_all(reader)


def test_a_long_reason_is_cut_at_a_character() -> None:
    data = close_frame(4400, "ä" * 200)
    assert len(data) <= 2 + 125
    assert data[4:].decode() == "ä" * 61
