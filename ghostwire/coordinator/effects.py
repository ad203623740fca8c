"""Effects: what the coordinator wants done. The driver performs them in order and hands back what the store says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.census import Census
from ghostwire.coordinator.decision import Fallback
from ghostwire.coordinator.policy_successor import Standing
from ghostwire.coordinator.snapshot import NodeFlows
from ghostwire.errors import GhostwireError
from ghostwire.model.change import Write
from ghostwire.model.position import Position


class Persist(msgspec.Struct, frozen=True, kw_only=True):
    """Write these rows in one transaction together with one row of the change log; then `Committed` or `Failed`."""

    persist: int
    kind: str
    actor: str
    writes: tuple[Write, ...]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the command `op`."""

    op: int
    value: Any


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """The command `op` is refused."""

    op: int
    error: GhostwireError


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """Send one frame, encoded once, to the live sessions of these slots. `urgent` ones are never coalesced away."""

    slots: BitMap
    frame: bytes
    urgent: bool = False


class MapFrom(msgspec.Struct, frozen=True, array_like=True):
    """A node's map that is left to the replica of whoever serves its session, who sends it behind what else there is.

    It is to be brought from the position `held` to where the replica stands, as a whole where that is None.
    """

    held: Position | None


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Send frames to one node's live session, in order: its own map, an order to rotate.

    They can be gone through once, and those of a map are made as they are asked for. A whole map that `waits` for its
    turn is as of when its first frame is asked for: until then the session need not be told anything else.
    """

    node: int
    session: int
    frames: Iterable[bytes]
    left: MapFrom | None = None
    waits: bool = False


class CloseSession(msgspec.Struct, frozen=True, kw_only=True):
    """End a live session after sending why."""

    node: int
    session: int
    code: str
    reason: str


class Flush(msgspec.Struct, frozen=True, kw_only=True):
    """Volatile facts to write to the history store, in one transaction: no promise before that.

    In order (`ghostwire.coordinator.snapshot`): `NodeSeen` facts, each replacing the node's last one; `MapChange`
    facts, new rows; `RuleHits` facts, each replacing the rule's last one; one `FlushMark`, which replaces the last one.
    `flows` come on top of those of earlier flushes; `utc` is the time in nanoseconds.
    """

    facts: tuple[msgspec.Struct, ...]
    flows: tuple[NodeFlows, ...] = ()
    utc: int = 0


class RestSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A node is gone: hand in `SlotRested` once all who serve sessions know, so that nobody takes the next for it."""

    slot: int


class BuildPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Build a policy aside (`ghostwire.coordinator.policy_building`), on a thread; then `PolicyBuilt`.

    `bindings` say whom names mean; without them who is called so. `standing` is the policy in force. The connections
    of nodes in the slots `ends` are to be judged. Held `against` another version, it is to be said whether access is
    only lost.
    """

    build: int
    text: str
    bindings: dict[str, int]
    census: Census
    standing: Standing
    ends: frozenset[int] = frozenset()
    against: Fallback | None = None


Effect = Persist | Reply | Refuse | Push | Send | CloseSession | Flush | RestSlot | BuildPolicy


# What replies carry.


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A node stands. `created` is False when it was known before."""

    node: int
    created: bool


class SessionOpened(msgspec.Struct, frozen=True, kw_only=True):
    """A session stands: send `frames` (welcome, then the map or that it is unchanged) before anything else.

    They can be gone through once, and those of a map are made as they are asked for.

    `session` numbers the node's live session; the driver closes a connection of an older number of the same node.
    """

    node: int
    slot: int
    session: int
    frames: Iterable[bytes]
    left: MapFrom | None = None

    def __repr__(self) -> str:
        return f"<SessionOpened {self.node}/{self.session}>"


class KeyRotated(msgspec.Struct, frozen=True, kw_only=True):
    """The new node key stands; `token` (text) replaces the session's."""

    node: int
    token: str

    def __repr__(self) -> str:
        return f"<KeyRotated {self.node}>"


class KeyCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A pre-auth key; `secret` is shown once and kept nowhere."""

    id: int
    secret: str
    expires_at: int

    def __repr__(self) -> str:
        return f"<KeyCreated {self.id}>"


class TokenCreated(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's token; `secret` is shown once and kept nowhere."""

    id: int
    secret: str
    expires_at: int

    def __repr__(self) -> str:
        return f"<TokenCreated {self.id}>"
