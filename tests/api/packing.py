"""Packed messages as docs/protocol.md has them, read with public libraries alone."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import msgspec
import zstandard


def unpack(frame: bytes, dictionary: bytes) -> Any:
    """The plain message, `netmap.columns` as the `netmap.full` that it stands for."""
    if frame[0] != 0xC1:
        return msgspec.msgpack.decode(frame)
    known = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    message = msgspec.msgpack.decode(zstandard.ZstdDecompressor(dict_data=known).decompress(frame[1:]))
    if message["type"] == "netmap.columns":
        message["type"] = "netmap.full"
        message["parts"]["peers"] = peers(*message.pop("peers"))
    return message


def peers(shapes: list[list[str]], which: bytes, columns: dict[str, tuple[int, bytes]]) -> dict[int, bytes]:
    """The parts by id."""
    values = {key: iter(column(*found)) for key, found in columns.items()}
    found = {}
    for shape in (shapes[number] for number in zstandard.decompress(which)):
        fields = {key: next(values[key]) for key in shape}
        head = bytes([0x80 | len(fields)])
        part = head + b"".join(msgspec.msgpack.encode(key) + value for key, value in fields.items())
        found[msgspec.msgpack.decode(fields["id"])] = part
    return found


def column(kind: int, data: bytes) -> list[bytes]:
    """The values of one column, as they stand in parts."""
    if kind == 2:
        return [b"\xc4\x20" + data[at : at + 32] for at in range(0, len(data), 32)]
    values = msgspec.msgpack.decode(zstandard.decompress(data), type=list[msgspec.Raw])
    if kind == 0:
        return [bytes(value) for value in values]
    return [msgspec.msgpack.encode(number) for number in accumulate(map(msgspec.msgpack.decode, values))]
