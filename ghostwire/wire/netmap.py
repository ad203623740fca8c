"""The map: what a node knows of its network, as named parts, and how deltas change it.

Each part is the bytes of one MessagePack map. The digest is the sum modulo 2**128 of the first 16 bytes (big-endian)
of BLAKE3 over label, a zero byte and the part: the order of parts does not show, and one part is exchanged in O(1).
Labels: `self`, `filter`, `dns`, `relays`, `network`, `peer/ID`, `profile/ID`.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from ghostwire._native import token
from ghostwire.errors import WireError
from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.model.position import Position
from ghostwire.wire.messages import MapDelta, MapFull, Parts

MAX_PEERS: Final = 4_000_000
_MASK: Final = (1 << 128) - 1
T = TypeVar("T")
SINGLE_PARTS: Final = ("self", "filter", "dns", "relays", "network")


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class SelfNode(_Part, frozen=True):
    """The node's own part. `owner` is the user's id, 0 for a tagged node; `key_expiry` UTC nanoseconds, 0 for never."""

    id: int
    name: str
    key: bytes
    ipv4: str
    ipv6: str
    class_id: int = msgspec.field(default=0, name="class")
    owner: int = 0
    tags: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    key_expiry: int = 0


class Peer(_Part, frozen=True):
    """A peer as its viewers see it. `routes` are prefixes beside its own addresses that it serves."""

    id: int
    name: str
    key: bytes
    ipv4: str
    ipv6: str
    class_id: int = msgspec.field(default=0, name="class")
    owner: int = 0
    tags: tuple[str, ...] = ()
    online: bool = False
    endpoints: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    node_type: str = "node"


class Filter(_Part, frozen=True):
    """What may come in, and until when peers are shown. Both follow from what the policy says of the node."""

    rules: tuple[FilterRule, ...] = ()
    ends: tuple[SightEnd, ...] = ()


class Profile(_Part, frozen=True):
    """An owner as peers see them."""

    id: int
    display_name: str


class Dns(_Part, frozen=True):
    """Names: the network's domain, and resolvers where there are any."""

    domain: str = ""
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


class Relays(_Part, frozen=True):
    """Relay regions by id."""

    regions: tuple[str, ...] = ()


class Network(_Part, frozen=True):
    """What holds for the whole network. Times in seconds."""

    id: str
    domain: str
    max_age_s: float
    heartbeat_s: float
    key_rotation_s: float = 0.0


class _Named(msgspec.Struct, frozen=True):
    """As much of a node's own part as says who it is."""

    id: int = 0


_peer = msgspec.msgpack.Decoder(Peer)
_self = msgspec.msgpack.Decoder(SelfNode)
_named = msgspec.msgpack.Decoder(_Named)
_filter = msgspec.msgpack.Decoder(Filter)
_network = msgspec.msgpack.Decoder(Network)
_profile = msgspec.msgpack.Decoder(Profile)
_dns = msgspec.msgpack.Decoder(Dns)
_encoder = msgspec.msgpack.Encoder()


def encode_part(part: _Part) -> bytes:
    """The bytes of a part. Equal parts give equal bytes."""
    return _encoder.encode(part)


def part_hash(label: str, part: bytes) -> int:
    """What a part adds to the digest."""
    return int.from_bytes(token.blake3(label.encode() + b"\0" + part)[:16], "big")


class NetMap:
    """A map as a node holds it: full pages and deltas come in, parts and a digest stand for it."""

    __slots__ = ("_digest", "_own", "_page", "_pending", "parts", "peers", "position", "profiles")

    def __init__(self) -> None:
        self.position: Position | None = None
        self.parts: dict[str, bytes] = {}
        self.peers: dict[int, bytes] = {}
        self.profiles: dict[int, bytes] = {}
        self._digest = 0
        self._own = 0
        self._page = 0
        self._pending: NetMap | None = None

    @property
    def digest(self) -> bytes:
        """16 bytes over every part."""
        return self._digest.to_bytes(16, "big")

    def apply_page(self, page: MapFull) -> bool:
        """Take one page of a full map; True when it was the last and the new map stands. Raises `WireError`.

        Until the last page has come, the old map stays whole.
        """
        if page.page == 0:
            self._pending, self._page = NetMap(), 0
        if self._pending is None or page.page != self._page:
            raise WireError(f"page {page.page} of a map came where page {self._page} was due")
        self._page += 1
        self._pending._set(page.parts)
        if not page.last:
            return False
        if page.position is None:
            raise WireError("the last page of a map names no position")
        fresh, self._pending = self._pending, None
        if page.digest and page.digest != fresh.digest:
            raise WireError("the map's digest is not that of its parts")
        missing = [name for name in SINGLE_PARTS if name not in fresh.parts]
        if missing:
            raise WireError(f"the map lacks {', '.join(missing)}")
        self.parts, self.peers, self.profiles = fresh.parts, fresh.peers, fresh.profiles
        self._digest, self._own, self.position = fresh._digest, fresh._own, page.position
        return True

    def apply_delta(self, delta: MapDelta) -> None:
        """Apply a delta. Parts that it does not name stay as they are. Raises `WireError` before a first full map.

        One delta serves all who see the same: what it says of the node itself is not for it.
        """
        if self.position is None:
            raise WireError("a delta came before any map")
        for node in delta.gone:
            self._drop(self.peers, "peer", node)
        for user in delta.gone_profiles:
            self._drop(self.profiles, "profile", user)
        self._set(delta.parts)
        self.position = delta.position

    def _drop(self, kept: dict[int, bytes], label: str, key: int) -> None:
        part = kept.pop(key, None)
        if part is not None:
            self._digest = (self._digest - part_hash(f"{label}/{key}", part)) & _MASK

    def _set(self, parts: Parts) -> None:
        if parts.self is not None:
            self._own = _id_of(parts.self)
        for name in SINGLE_PARTS:
            part = getattr(parts, name)
            if part is not None:
                self._exchange(name, self.parts.get(name), part)
                self.parts[name] = part
        peers = {node: part for node, part in parts.peers.items() if node != self._own}
        for kept, label, fresh in ((self.peers, "peer", peers), (self.profiles, "profile", parts.profiles)):
            for key, part in fresh.items():
                self._exchange(f"{label}/{key}", kept.get(key), part)
                kept[key] = part
        if len(self.peers) > MAX_PEERS:
            raise WireError(f"a map of more than {MAX_PEERS} peers")

    def _exchange(self, label: str, old: bytes | None, new: bytes) -> None:
        if old == new:
            return
        gone = 0 if old is None else part_hash(label, old)
        self._digest = (self._digest - gone + part_hash(label, new)) & _MASK

    # Reading.

    def peer(self, node: int) -> Peer:
        """The peer with this stable id. Raises `KeyError` and `WireError`."""
        return _read(_peer, self.peers[node])

    def all_peers(self) -> list[Peer]:
        """Every peer, by name."""
        return sorted((_read(_peer, part) for part in self.peers.values()), key=lambda peer: (peer.name, peer.id))

    def own(self) -> SelfNode:
        """The node's own part."""
        return _read(_self, self.parts["self"])

    def filter(self) -> Filter:
        """What may come in, and until when peers are shown."""
        return _read(_filter, self.parts["filter"])

    def network(self) -> Network:
        """What holds for the whole network."""
        return _read(_network, self.parts["network"])

    def dns(self) -> Dns:
        """Names."""
        return _read(_dns, self.parts["dns"])

    def owners(self) -> dict[int, str]:
        """Display names of owners by user id."""
        return {user: _read(_profile, part).display_name for user, part in self.profiles.items()}

    # Keeping.

    def dump(self) -> bytes:
        """Bytes that `load` reads again, for the cached map."""
        return _encoder.encode((self.position, self.parts, self.peers, self.profiles))

    @classmethod
    def load(cls, data: bytes) -> NetMap:
        """The map that `dump` wrote. Raises `WireError`."""
        kept = _read(_dumped, data)
        fresh = cls()
        fresh.position, parts, peers, profiles = kept
        fresh._set(Parts(**{name: parts.get(name) for name in SINGLE_PARTS}, peers=peers, profiles=profiles))
        return fresh


_dumped = msgspec.msgpack.Decoder(tuple[Position | None, dict[str, bytes], dict[int, bytes], dict[int, bytes]])


def _id_of(part: bytes) -> int:
    """Whose own part it is; 0 for what cannot be read, which `own` refuses when it is looked at."""
    try:
        return _named.decode(part).id
    except msgspec.MsgspecError:
        return 0


def _read(decoder: msgspec.msgpack.Decoder[T], part: bytes) -> T:
    try:
        return decoder.decode(part)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"a part of the map can't be read: {error}") from error
