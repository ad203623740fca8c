"""Frames of a map: whole ones in pages, deltas, and the word that nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ghostwire.model.position import Position
from ghostwire.wire import codec
from ghostwire.wire.messages import MapDelta, MapFull, MapUnchanged, Parts

PAGE_PEERS: Final = 512
"""Peers, or profiles, of one page at most."""
PAGE_BYTES: Final = 512 * 1024
"""Bytes of parts after which a page is closed; well below the largest frame that a node takes."""


class MapParts(msgspec.Struct, frozen=True, kw_only=True):
    """All parts of one node's map, encoded, and the digest over them."""

    single: dict[str, bytes]
    peers: dict[int, bytes]
    profiles: dict[int, bytes]
    digest: bytes


def full_frames(parts: MapParts, position: Position) -> tuple[bytes, ...]:
    """The pages of a whole map. Only the last one names the position: until then the old map stands."""
    pages = list(_pages(parts))
    frames = [codec.encode(MapFull(page=number, parts=page)) for number, page in enumerate(pages[:-1])]
    last = MapFull(page=len(frames), parts=pages[-1], last=True, position=position, digest=parts.digest)
    return (*frames, codec.encode(last))


def delta_frame(position: Position, parts: Parts, gone: tuple[int, ...], gone_profiles: tuple[int, ...]) -> bytes:
    """One delta."""
    return codec.encode(MapDelta(position=position, parts=parts, gone=gone, gone_profiles=gone_profiles))


def unchanged_frame(position: Position, digest: bytes) -> bytes:
    """The word that the map which the node holds is current."""
    return codec.encode(MapUnchanged(position=position, digest=digest))


def _pages(parts: MapParts) -> Iterator[Parts]:
    """The own parts with the first page, then profiles, then peers, as many as fit."""
    single: dict[str, Any] = dict(parts.single)
    profiles: dict[int, bytes] = {}
    peers: dict[int, bytes] = {}
    size = sum(map(len, single.values()))
    for user, part in parts.profiles.items():
        if len(profiles) == PAGE_PEERS or size >= PAGE_BYTES:
            yield Parts(**single, profiles=profiles)
            single, profiles, size = {}, {}, 0
        profiles[user] = part
        size += len(part)
    for node, part in parts.peers.items():
        if len(peers) == PAGE_PEERS or size >= PAGE_BYTES:
            yield Parts(**single, profiles=profiles, peers=peers)
            single, profiles, peers, size = {}, {}, {}, 0
        peers[node] = part
        size += len(part)
    yield Parts(**single, profiles=profiles, peers=peers)
