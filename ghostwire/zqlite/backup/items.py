"""What the chunks of a segment hold: a zstd stream of msgpack items, each behind its length (4 bytes, big-endian).

["meta", key, value]                        the store's own settings; its secrets are in the clear here
["layout", since, table id, layout]         the log's catalogue
["snapshot", seq, part, ts, hash, data]     what takes the place of a log that was dropped
["change", seq, epoch, ts, actor, kind, body, prev, hash]
["tables", {name: BLAKE3}]                  last: what the tables were when the backup was made
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import zstandard

from ghostwire._native import token
from ghostwire.errors import DatabaseError

_LENGTH: Final = struct.Struct(">I")
_LEVEL: Final = 3


def pack(items: Iterable[Any]) -> Iterator[bytes]:
    """The stream of some items."""
    packer = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    encode = msgspec.msgpack.Encoder().encode
    for item in items:
        data = encode(item)
        yield packer.compress(_LENGTH.pack(len(data)) + data)
    yield packer.flush()


def unpack(stream: Iterable[bytes]) -> Iterator[list[Any]]:
    """The reverse of `pack`. Raises DatabaseError for a stream that ends early or holds something else."""
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    pending = bytearray()
    try:
        for packed in stream:
            pending += unpacker.decompress(packed)
            at = 0
            while len(pending) - at >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(pending, at)
                if len(pending) - at - _LENGTH.size < length:
                    break
                at += _LENGTH.size
                yield msgspec.msgpack.decode(pending[at : at + length], type=list[Any])
                at += length
            del pending[:at]
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise DatabaseError(f"the backup's content is damaged: {error}") from error
    if pending or not unpacker.eof:
        raise DatabaseError("the backup's content ends in the middle of an item")


def digests(content: dict[str, Any]) -> dict[str, bytes]:
    """The BLAKE3 of each table's definition and rows, by name."""
    return {name: token.blake3(repr(value).encode()) for name, value in content.items()}
