"""Peers by columns: the parts of many peers, field by field, and back to the very bytes that they were.

Peers differ little, and field by field they compress to a tenth, their keys apart. A part is one MessagePack map with
text for keys. Peers with the same keys in the same order have one *shape*; each field is a column over all peers whose
shape has it. A digest covers parts as they were, so what comes back is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ghostwire._native import columns
from ghostwire.wire.packing import pack, unpack

AS_THEY_ARE: Final = 0
DIFFERENCES: Final = 1
KEYS: Final = 2
KEY_BYTES: Final = 32


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
    found = {
        key: (column.kind, column.data if column.kind == KEYS else unpack(column.data, most))
        for key, column in table.columns.items()
    }
    return columns.scatter(table.shapes, unpack(table.peers, most), found, most)
