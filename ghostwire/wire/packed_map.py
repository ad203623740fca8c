"""What nodes get that read packed messages: pages of a map by columns, other messages as they are, all of it packed.

What was encoded for everyone is packed at the edge: a broadcast once for all, a page of a map for its node.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ghostwire.wire import codec
from ghostwire.wire.columns import restore, transpose
from ghostwire.wire.messages import MAX_SERVER_FRAME, MapColumns, MapFull
from ghostwire.wire.packing import pack_message

FEW: Final = 8
"""Peers of a page that is not worth columns."""
_PAGE: Final = b"\xa4type\xabnetmap.full"
_page = msgspec.msgpack.Decoder(MapFull)


def packed(message: bytes) -> bytes:
    """A message to a node that reads packed ones."""
    return pack_message(_by_columns(message) if message[1 : 1 + len(_PAGE)] == _PAGE else message)


def plain_page(message: MapColumns) -> MapFull:
    """The page that was put into columns. Raises `WireError`."""
    return MapFull(
        page=message.page,
        parts=msgspec.structs.replace(message.parts, peers=restore(message.peers, MAX_SERVER_FRAME)),
        last=message.last,
        position=message.position,
        digest=message.digest,
    )


def _by_columns(message: bytes) -> bytes:
    page = _page.decode(message)
    columns = transpose(page.parts.peers.values()) if len(page.parts.peers) > FEW else None
    if columns is None:
        return message
    return codec.encode(
        MapColumns(
            page=page.page,
            parts=msgspec.structs.replace(page.parts, peers={}),
            peers=columns,
            last=page.last,
            position=page.position,
            digest=page.digest,
        )
    )
