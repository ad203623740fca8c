"""The map of a simulated node: what it takes to know its digest, a twentieth of what an agent keeps."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from ghostwire._native import inbox
from ghostwire.errors import WireError
from ghostwire.model.position import Position
from ghostwire.testing.load.stamp import moment_of
from ghostwire.wire import codec
from ghostwire.wire.messages import MAX_SERVER_FRAME, MapDelta, MapFull, Parts
from ghostwire.wire.netmap import SINGLE_PARTS, part_hash
from ghostwire.wire.packing import unpack_message

REMEMBERED_CHANGES: Final = 1024
REMEMBERED_PARTS: Final = 1 << 16
"""Many nodes are told the same: each is read and hashed once, as long as so many others have not come between."""
_KIND: Final = 1 << 56
"""Parts are numbered by kind, then id: single parts, peers, profiles."""
_PEER, _PROFILE = _KIND, 2 * _KIND


class _Shown(msgspec.Struct, frozen=True):
    """What is looked at of a peer's part."""

    endpoints: tuple[str, ...] = ()


_shown = msgspec.msgpack.Decoder(_Shown)


class NodeMap:
    """Takes pages and deltas as `wire.NetMap` does, and keeps hashes in place of parts.

    `replaced` says how the last whole map differed from the one that it took the place of, empty where it did not.
    """

    __slots__ = ("_page", "_pending", "held", "replaced")

    def __init__(self) -> None:
        self.held = inbox.HeldMap()
        self._pending: tuple[list[tuple[int, bytes]], set[str]] | None = None
        self._page = 0
        self.replaced = ""

    @property
    def position(self) -> Position | None:
        """The position of the map that stands."""
        found: Position | None = self.held.position
        return found

    @position.setter
    def position(self, position: Position | None) -> None:
        self.held.position = position

    def belong_to(self, node: int) -> None:
        """Be the map of the node with this id, which is not its own peer."""
        self.held.own = _PEER + node

    @property
    def digest(self) -> bytes:
        """16 bytes over every part."""
        return self.held.digest

    def apply_page(self, page: MapFull) -> bool:
        """Take one page of a full map; True when it was the last. Raises `WireError`."""
        if page.page == 0:
            self._pending, self._page = ([], set()), 0
        if self._pending is None or page.page != self._page:
            raise WireError(f"page {page.page} of a map came where page {self._page} was due")
        self._page += 1
        parts, names = self._pending
        parts += _numbered(page.parts)
        names.update(name for name in SINGLE_PARTS if getattr(page.parts, name) is not None)
        if not page.last:
            return False
        self._pending = None
        fresh = inbox.Change(page.position, parts, [], [])
        before = self.position
        digest, held = self.held.digest, set() if before is None else {*self.held.items()}
        self.held.clear()
        self.held.apply(fresh)
        if page.digest and page.digest != self.held.digest:
            raise WireError("the map's digest is not that of its parts")
        if page.position is None or len(names) < len(SINGLE_PARTS):
            raise WireError("the map lacks parts, or its position")
        self.replaced = ""
        if before is not None and self.held.digest != digest:
            differ = ", ".join(map(_name, sorted({number for number, _ in held ^ {*self.held.items()}})))
            self.replaced = (
                f"{digest.hex()} at {before.seq}/{before.vseq}, in its place {self.held.digest.hex()} at "
                f"{page.position.seq}/{page.position.vseq}: {differ} differ"
            )
        return True

    def apply_delta(self, delta: MapDelta) -> None:
        """Take a change that came before the node stood by its session. Raises `WireError`."""
        if self.held.position is None:
            raise WireError("a delta came before any map")
        self.held.apply(_change(delta, []))


@lru_cache(REMEMBERED_CHANGES)
def read_change(payload: bytes) -> inbox.Change | None:
    """A delta, with the moments that the peers in it carry; None for another message. Raises `WireError`."""
    delta = codec.decode_from_server(unpack_message(payload, MAX_SERVER_FRAME))
    if not isinstance(delta, MapDelta):
        return None
    moments = map(_moment, delta.parts.peers.values())
    return _change(delta, [moment for moment in moments if moment is not None])


def _change(delta: MapDelta, moments: list[float]) -> inbox.Change:
    gone = [_PEER + node for node in delta.gone] + [_PROFILE + user for user in delta.gone_profiles]
    return inbox.Change(delta.position, _numbered(delta.parts), gone, moments)


def _numbered(parts: Parts) -> list[tuple[int, bytes]]:
    """Number and hash of each part."""
    found = [
        (number, _hash(name, part))
        for number, name in enumerate(SINGLE_PARTS)
        if (part := getattr(parts, name)) is not None
    ]
    found += [(_PEER + node, _hash(f"peer/{node}", part)) for node, part in parts.peers.items()]
    found += [(_PROFILE + user, _hash(f"profile/{user}", part)) for user, part in parts.profiles.items()]
    return found


def _name(number: int) -> str:
    """The label of a part by its number."""
    kind, identity = divmod(number, _KIND)
    return f"{('', 'peer', 'profile')[kind]}/{identity}" if kind else SINGLE_PARTS[identity]


@lru_cache(REMEMBERED_PARTS)
def _hash(label: str, part: bytes) -> bytes:
    return part_hash(label, part).to_bytes(16, "big")


@lru_cache(REMEMBERED_PARTS)
def _moment(part: bytes) -> float | None:
    return moment_of(_shown.decode(part).endpoints)
