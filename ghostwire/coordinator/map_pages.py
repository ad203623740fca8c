"""Frames of a map: whole ones in pages, each made when it is asked for, deltas, and the word that nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghostwire._native import netmap
from ghostwire.coordinator.fragments import MASK
from ghostwire.model.position import Position
from ghostwire.wire import codec
from ghostwire.wire.messages import MapDelta, MapUnchanged, Parts

PAGE_PEERS: Final = 512
"""Peers, or profiles, of one page at most."""
PAGE_BYTES: Final = 512 * 1024
"""Bytes of parts after which a page is closed; well below the largest frame that a node takes."""


_HERE: Final = msgspec.Raw(b"")
"""Encodes to nothing: what stands here is written behind."""


class MapParts(msgspec.Struct, frozen=True, kw_only=True):
    """All parts of one node's map, encoded, and the digest over them."""

    single: dict[str, bytes]
    peers: dict[int, bytes]
    profiles: dict[int, bytes]
    digest: bytes


class MapPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A whole map as of one moment: its own parts and profiles, the slots of its peers, where it stands.

    `stamp` is the arena's at that moment, `digest` the sum of the hashes of all parts but the peers'.
    """

    single: dict[str, bytes]
    profiles: dict[int, bytes]
    peers: NDArray[np.uint32]
    stamp: int
    digest: int
    position: Position


class _Page(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="netmap.full", omit_defaults=True):
    """`MapFull` without peers, or up to where they begin, as the last thing in it."""

    page: int
    last: bool = False
    position: Position | None = None
    digest: bytes = b""
    parts: dict[str, Any]


def full_frames(plan: MapPlan, arena: netmap.Arena) -> Iterator[bytes]:
    """The pages of a whole map. Only the last one names the position: until then the old map stands.

    Each page is made when it is asked for. A peer that has changed or gone meanwhile is in no later page: the delta
    that says so is on its way behind the map, and the digest is of what the pages hold.
    """
    total, number, index = plan.digest, 0, 0
    parts: dict[str, Any] = dict(plan.single)
    profiles, rest = _profiles(plan.profiles, sum(map(len, parts.values())))
    while rest:
        yield codec.encode(_Page(page=number, parts={**parts, "profiles": profiles}))
        number, parts = number + 1, {}
        profiles, rest = _profiles(rest, 0)
    taken = sum(map(len, parts.values())) + sum(map(len, profiles.values()))
    while True:
        past, found = arena.cut(plan.peers, index, PAGE_PEERS, max(PAGE_BYTES - taken, 1), plan.stamp)
        total = (total + found) & MASK
        if profiles:
            parts["profiles"] = profiles
        page = _Page(page=number, parts={**parts, "peers": _HERE})
        if past == len(plan.peers):
            digest = total.to_bytes(16, "big")
            page = msgspec.structs.replace(page, last=True, position=plan.position, digest=digest)
        yield arena.splice(codec.encode(page), plan.peers, index, past, plan.stamp)
        if page.last:
            return
        number, index, parts, profiles, taken = number + 1, past, {}, {}, 0


def delta_frame(position: Position, parts: Parts, gone: tuple[int, ...], gone_profiles: tuple[int, ...]) -> bytes:
    """One delta."""
    return codec.encode(MapDelta(position=position, parts=parts, gone=gone, gone_profiles=gone_profiles))


def unchanged_frame(position: Position, digest: bytes) -> bytes:
    """The word that the map which the node holds is current."""
    return codec.encode(MapUnchanged(position=position, digest=digest))


def _profiles(profiles: dict[int, bytes], size: int) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """As many as a page has room for beside so many bytes, and the others."""
    count = 0
    for part in islice(profiles.values(), PAGE_PEERS):
        if size >= PAGE_BYTES:
            break
        count, size = count + 1, size + len(part)
    items = iter(profiles.items())
    return dict(islice(items, count)), dict(items)
