"""What a feed tells its replicas, as MessagePack arrays. Sets of slots, and of groups, are serialised bitmaps.

A *group* is the nodes that see from one standpoint: each of them sees the members of the groups in its row, but not
itself. Rows are symmetric: a group is in the rows of those that are in its own. Numbers of groups and of filters are
given once and mean nothing beyond one feed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ghostwire.coordinator.change_window import Reach
from ghostwire.errors import WireError
from ghostwire.model.position import Position


class _Event(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class Begun(_Event, frozen=True, tag=0):
    """Everything begins anew: what all maps share.

    `log` and `boot` are those of the positions that follow, `domain` is what names of nodes end in, `window` how many
    changes of maps are kept.
    """

    log: bytes
    boot: bytes
    domain: str
    shared: dict[str, bytes]
    window: int


class NodeSet(_Event, frozen=True, tag=1):
    """A node is present in a slot: in this group, with this filter. `owner` is 0 for none; the rest is in `peer`."""

    slot: int
    id: int
    owner: int
    group: int
    filter: int
    key_expiry: int
    peer: bytes


class NodeShown(_Event, frozen=True, tag=2):
    """Peers are shown another part of a node that is present."""

    slot: int
    peer: bytes


class NodeGone(_Event, frozen=True, tag=3):
    """No node is present in a slot."""

    slot: int


class Grouped(_Event, frozen=True, tag=4):
    """Nodes are in another group than before."""

    group: int
    slots: bytes


class RowSet(_Event, frozen=True, tag=5):
    """Whom a group sees, and who sees it: exactly these groups."""

    group: int
    row: bytes


class GroupGone(_Event, frozen=True, tag=6):
    """A group has no members, and will never have any."""

    group: int


class FilterSet(_Event, frozen=True, tag=7):
    """A filter that nodes may have."""

    filter: int
    part: bytes


class Filtered(_Event, frozen=True, tag=8):
    """Nodes have another filter than before."""

    filter: int
    slots: bytes


class FilterGone(_Event, frozen=True, tag=9):
    """A filter that no node has."""

    filter: int


class ProfileSet(_Event, frozen=True, tag=10):
    """What peers are shown of an owner."""

    user: int
    part: bytes


class ProfileGone(_Event, frozen=True, tag=11):
    """A user who exists no longer."""

    user: int


class MapsChanged(_Event, frozen=True, tag=12):
    """A change of maps, for those who come back (see `ghostwire.coordinator.change_window.Entry`).

    Affected are the slots of `affected`, or without it those who see the node in slot `seen`.
    """

    number: int
    boot: bytes
    seq: int
    vseq: int
    touched: tuple[int, ...]
    owners: tuple[int, ...]
    affected: bytes | None
    seen: int


class ChangesBegun(_Event, frozen=True, tag=13):
    """The window of changes begins anew: how far the changes of each run are known, the number of the next one."""

    reaches: tuple[Reach, ...]
    upcoming: int


Event = (
    Begun
    | NodeSet
    | NodeShown
    | NodeGone
    | Grouped
    | RowSet
    | GroupGone
    | FilterSet
    | Filtered
    | FilterGone
    | ProfileSet
    | ProfileGone
    | MapsChanged
    | ChangesBegun
)


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Events in order, and where a replica stands after them; None while more of a snapshot is to come."""

    events: tuple[Event, ...]
    position: Position | None


_decoder: Final = msgspec.msgpack.Decoder(Batch)
_encoder: Final = msgspec.msgpack.Encoder()


def encode_batch(batch: Batch) -> bytes:
    """The bytes of a batch."""
    return _encoder.encode(batch)


def decode_batch(data: bytes | memoryview) -> Batch:
    """Read a batch. Raises `WireError`."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise WireError(f"what came is no batch of a feed: {error}") from error
