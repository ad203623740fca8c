"""What leader and workers say to each other, as MessagePack arrays that begin with the message's name.

A batch of a link is a list of these. Commands of the coordinator that nodes may ask for travel as they are; `op` is the
worker's own number for a request, and exactly one answer with it follows.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ghostwire.coordinator import commands
from ghostwire.coordinator.effects import MapFrom
from ghostwire.model.beat import Beat
from ghostwire.model.position import Position
from ghostwire.server.port import PortCounts


class _Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    pass


# From a worker.


class Beats(_Message, frozen=True):
    """Signs of life that were answered already."""

    beats: list[Beat]


class Report(_Message, frozen=True):
    """A worker's sign of life, with what it counts."""

    counts: PortCounts


class Told(_Message, frozen=True):
    """Everything before the `Mark` with this number has been handed to its sessions."""

    number: int


class Returned(_Message, frozen=True):
    """A node has returned a signed head."""

    op: int
    signed: bytes


class Claims(_Message, frozen=True):
    """Sessions (node and number) that live here, whose maps are as of `held`; the leader does not know them."""

    sessions: list[tuple[int, int]]
    held: Position | None


# From the leader.


class Replicated(_Message, frozen=True):
    """A batch of the coordinator's feed of replicas (`ghostwire.coordinator.replica`), before what rests on it."""

    batch: memoryview


class Opened(_Message, frozen=True):
    """A session stands: what its node is to be sent first, and then of its map."""

    op: int
    node: int
    slot: int
    session: int
    frames: tuple[bytes, ...]
    left: MapFrom | None


class Done(_Message, frozen=True):
    """What was asked is done."""

    op: int


class Mapped(_Message, frozen=True):
    """The map that was asked for is to be sent."""

    op: int
    node: int
    left: MapFrom


class Rekeyed(_Message, frozen=True):
    """A node's new key stands; its session's new token."""

    op: int
    node: int
    token: str

    def __repr__(self) -> str:
        return f"<Rekeyed {self.node}>"


class Refused(_Message, frozen=True):
    """What was asked is refused."""

    op: int
    code: str
    message: str
    retry_after: float | None


class Broadcast(_Message, frozen=True):
    """One frame for those of these slots (a roaring bitmap in its portable format) that have a live session here."""

    slots: bytes
    frame: bytes
    urgent: bool


class Own(_Message, frozen=True):
    """Frames for one session, and then what it is to be sent of its map."""

    node: int
    session: int
    frames: tuple[bytes, ...]
    left: MapFrom | None


class Close(_Message, frozen=True):
    """End a session after saying why."""

    node: int
    session: int
    code: str
    reason: str


class Replaced(_Message, frozen=True):
    """A session's node has opened another one elsewhere."""

    node: int
    session: int


class Head(_Message, frozen=True):
    """The newest signed head, for sessions that open from now on; so many live ones are told. None: there is none."""

    frame: bytes | None
    tell: int


class Mark(_Message, frozen=True):
    """Say `Told` once everything before this has been handed to its sessions."""

    number: int


class At(_Message, frozen=True):
    """Where the coordinator stands: all that is to be sent up to here has been sent. Also a sign of life.

    None: something waits to be told, so what was said last holds.
    """

    position: Position | None


FromWorker = (
    commands.RegisterNode
    | commands.OpenSession
    | commands.SessionClosed
    | commands.SetEndpoints
    | commands.ResyncNode
    | commands.RotateNodeKey
    | commands.LogoutNode
    | Beats
    | Report
    | Told
    | Returned
    | Claims
)
FromLeader = (
    Replicated | Opened | Done | Mapped | Rekeyed | Refused | Broadcast | Own | Close | Replaced | Head | Mark | At
)
_PRESSING: Final = frozenset(
    (commands.RotateNodeKey, commands.LogoutNode, Told, Rekeyed, Own, Close, Replaced, Mark),
)
ENCODER: Final = msgspec.msgpack.Encoder()
WORKER_BATCH: Final = msgspec.msgpack.Decoder(list[FromWorker])
LEADER_BATCH: Final = msgspec.msgpack.Decoder(list[FromLeader])
BEAT_S: Final = 1.0
"""How often each end gives a sign of life."""
SILENT_S: Final = 5.0
"""How long an end may be silent before the other one takes it for gone."""


def presses(message: Any) -> bool:
    """Whether a message waits for none that may follow: it takes something away, or such a thing rests on it."""
    kind = type(message)
    return kind in _PRESSING or (kind is Broadcast and message.urgent)
