"""Peers by columns: the parts of many peers, field by field, and back to the very bytes that they were.

Peers differ little, and field by field they compress to a tenth, their keys apart. A part is one MessagePack map with
text for keys. Peers with the same keys in the same order have one *shape*; each field is a column over all peers whose
shape has it. A digest covers parts as they were, so what comes back is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

import msgspec

from ghostwire._native import columns
from ghostwire.errors import WireError
from ghostwire.wire.packing import pack, unpack

AS_THEY_ARE: Final = 0
DIFFERENCES: Final = 1
KEYS: Final = 2
KEY_BYTES: Final = 32
_KEY_HEAD: Final = b"\xc4\x20"


class Column(msgspec.Struct, frozen=True, array_like=True):
    """The values of one field in order of the peers that have it.

    `kind` 0: a MessagePack array of them, as a zstd frame. 1: the same of integers, each as its difference from the
    one before, the first one's from 0. 2: byte strings of 32 bytes, one after another and nothing else.
    """

    kind: int
    data: bytes


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """Peers: the keys of each shape, for each peer a byte with its shape's number (a zstd frame), and the columns."""

    shapes: tuple[tuple[str, ...], ...]
    peers: bytes
    columns: dict[str, Column]


_encoder = msgspec.msgpack.Encoder()
_number = msgspec.msgpack.Decoder(int)
_numbers = msgspec.msgpack.Decoder(list[int])
_values = msgspec.msgpack.Decoder(list[msgspec.Raw])


def transpose(parts: Iterable[bytes]) -> Columns | None:
    """The columns of these parts; None where they have more shapes than a byte counts, or more than 256 fields."""
    found = columns.gather(parts)
    if found is None:
        return None
    shapes, peers, gathered = found
    return Columns(
        tuple(shapes),
        pack(peers),
        {key: Column(kind, data if kind == KEYS else pack(data)) for key, (kind, data) in gathered.items()},
    )


def restore(table: Columns, most: int) -> dict[int, bytes]:
    """The parts by the id in them, in order. Raises `WireError` for what is no table, or more than `most` bytes."""
    try:
        return _restore(table, most)
    except (StopIteration, IndexError, KeyError, OverflowError, msgspec.MsgspecError) as error:
        raise WireError("a page of columns is not what its shapes say") from error


def _restore(table: Columns, most: int) -> dict[int, bytes]:
    fields = {key: _unfold(column, most) for key, column in table.columns.items()}
    keys = {key: _encoder.encode(key) for key in fields}
    heads = [_encoder.encode(dict.fromkeys(shape))[: _head_size(len(shape))] for shape in table.shapes]
    found: dict[int, bytes] = {}
    size = 0
    for number in unpack(table.peers, most):
        values = {key: next(fields[key]) for key in table.shapes[number]}
        part = heads[number] + b"".join(keys[key] + value for key, value in values.items())
        size += len(part)
        if size > most:
            raise WireError(f"a page of columns holds more than {most} bytes of peers")
        found[_number.decode(values["id"])] = part
    if any(next(values, None) is not None for values in fields.values()):
        raise WireError("a page of columns has more values than peers")
    return found


def _unfold(column: Column, most: int) -> Iterator[bytes]:
    data = column.data
    if column.kind == KEYS:
        if len(data) % KEY_BYTES:
            raise WireError("a column of keys ends within one")
        return (_KEY_HEAD + data[at : at + KEY_BYTES] for at in range(0, len(data), KEY_BYTES))
    if column.kind == DIFFERENCES:
        return map(_encoder.encode, accumulate(_numbers.decode(unpack(data, most))))
    if column.kind == AS_THEY_ARE:
        return map(bytes, _values.decode(unpack(data, most)))
    raise WireError(f"there are no columns of kind {column.kind}")


def _head_size(fields: int) -> int:
    """Bytes of a MessagePack map's head."""
    return 1 if fields < 16 else 3 if fields < 1 << 16 else 5
