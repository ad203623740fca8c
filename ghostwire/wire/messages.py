"""The single definition of each message of the node protocol (`ghostwire.v1`), as MessagePack maps.

Every message is a map whose `type` names it. The bodies that a proof covers travel as bytes inside their message, so
that both sides hash the same bytes. docs/protocol.md describes the same for those who write a client.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeFacts, NodeMetrics
from ghostwire.model.position import Position
from ghostwire.wire.columns import Columns

SUBPROTOCOL: Final = "ghostwire.v1"
PATH: Final = "/v1/session"
MAX_CLIENT_FRAME: Final = 64 * 1024
"""Bytes of the largest frame that a coordinator takes from a node."""
MAX_SERVER_FRAME: Final = 1024 * 1024
"""Bytes of the largest frame that a node takes from a coordinator."""
MAX_HITS: Final = 256
"""Rules that one heartbeat reports on at most."""
MOST_HITS: Final = (1 << 32) - 1
"""The highest count that one heartbeat reports of a rule; what is left comes with the next."""
MAX_FLOWS: Final = 256
"""Peers that one heartbeat reports on at most."""

Flows = Annotated[dict[int, Flow], msgspec.Meta(max_length=MAX_FLOWS)]
Hits = Annotated[dict[int, Annotated[int, msgspec.Meta(ge=0, le=MOST_HITS)]], msgspec.Meta(max_length=MAX_HITS)]


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    pass


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


# From the coordinator.


class Challenge(_Message, frozen=True, tag="challenge"):
    """The first frame. `key` is X25519, `nonce` 32 bytes that one proof may use once within 60 s."""

    key: bytes
    nonce: bytes
    network: str


class Welcome(_Message, frozen=True, tag="welcome"):
    """The session stands. `token` (text) resumes it later; `utc` is the coordinator's clock in nanoseconds."""

    token: str
    node: int
    session: int
    heartbeat_s: float
    utc: int

    def __repr__(self) -> str:
        return f"<Welcome of node {self.node}>"


class Pending(_Message, frozen=True, tag="pending"):
    """Approval is awaited at `url`; ask again after `retry_after` seconds."""

    url: str
    retry_after: float = 5.0


class Refusal(_Message, frozen=True, tag="error"):
    """What was asked is refused. `code` is a code of the error tree; `final` says that the session is over.

    `query` is the number of the query that is refused, where it was one.
    """

    code: str
    message: str
    retry_after: float | None = None
    final: bool = False
    query: int | None = None


class MapUnchanged(_Message, frozen=True, tag="netmap.unchanged"):
    """The map that the node holds is current at `position`."""

    position: Position
    digest: bytes


class MapFull(_Message, frozen=True, kw_only=True, tag="netmap.full"):
    """One page of a whole map. The first page (`page` 0) starts it, `last` completes it and names the position.

    Parts are bytes of MessagePack each (see `ghostwire.wire.netmap`); absent means "not in this page".
    """

    page: int
    last: bool = False
    position: Position | None = None
    digest: bytes = b""
    parts: Parts


class MapDelta(_Message, frozen=True, tag="netmap.delta"):
    """What changed up to `position`: parts set, and peers and profiles gone. An absent part is unchanged."""

    position: Position
    parts: Parts
    gone: tuple[int, ...] = ()
    gone_profiles: tuple[int, ...] = ()


class Parts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parts of a map by name, each the bytes that its digest covers. None is "not here", never "empty"."""

    self: bytes | None = None
    filter: bytes | None = None
    dns: bytes | None = None
    relays: bytes | None = None
    network: bytes | None = None
    profiles: dict[int, bytes] = {}
    peers: dict[int, bytes] = {}


class MapColumns(_Message, frozen=True, tag="netmap.columns"):
    """One page of a whole map like `MapFull`, its peers by columns; sent packed, to nodes that read it."""

    page: int
    parts: Parts
    peers: Columns
    last: bool = False
    position: Position | None = None
    digest: bytes = b""


class HeartbeatAck(_Message, frozen=True, tag="heartbeat.ack"):
    """A heartbeat was heard. `utc` is the coordinator's clock in nanoseconds.

    The map that the node held when it gave it is current at `position`, where there is one.
    """

    utc: int

    position: Position | None = None


class Answer(_Message, frozen=True, tag="answer"):
    """The answer to a query: peers (bytes as in a map) that the asker's own view holds.

    `stale` says that the coordinator is away, so that the answer may be old.
    """

    id: int
    peers: tuple[bytes, ...] = ()
    stale: bool = False


class RotateOrder(_Message, frozen=True, tag="rotate"):
    """The coordinator asks the node to rotate its key."""

    reason: str = ""


class Rotated(_Message, frozen=True, tag="rotated"):
    """The new key stands; the old one is refused for ever. `token` replaces the session's."""

    token: str

    def __repr__(self) -> str:
        return "<Rotated>"


class LogHead(_Message, frozen=True, tag="head"):
    """The newest signed head of the coordinator's change log: keep it, and return it in the next session.

    `signed` is MessagePack (`ghostwire.zqlite.heads`), `key` the composite public key that checks it.
    """

    signed: bytes
    key: bytes


class ServerBye(_Message, frozen=True, tag="bye"):
    """The session ends by intent; come back after `retry_after` seconds."""

    reason: str
    retry_after: float = 0.0


# From the node.


class RegisterBody(_Body, frozen=True):
    """What `register` proves. Without a pre-auth key a known node only refreshes its facts."""

    node_key: bytes
    machine_key: bytes
    facts: NodeFacts
    preauth_key: str | None = None

    def __repr__(self) -> str:
        return f"<RegisterBody of {self.node_key.hex()[:8]}>"


class HelloBody(_Body, frozen=True):
    """What `hello` proves. `resume` is the position of the map that the node holds."""

    node_key: bytes
    token: str | None = None
    resume: Position | None = None
    digest: bytes = b""

    def __repr__(self) -> str:
        return f"<HelloBody of {self.node_key.hex()[:8]}>"


class RotateBody(_Body, frozen=True):
    """What `rotate_key` proves, under the old key and under the new one."""

    node_key: bytes
    new_key: bytes


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of possession: keyed BLAKE3 over the transcript (`ghostwire.wire.proof`).

    `origin` is the origin as dialled, `spki` SHA-256 of the server's public key info as seen, empty without TLS.
    """

    mac: bytes
    nonce: bytes
    origin: str
    spki: bytes = b""


class Register(_Message, frozen=True, tag="register"):
    """Join: `body` is a `RegisterBody`. `packs` names the dictionary that the node reads packed messages with."""

    body: bytes
    proof: Proof
    packs: bytes = b""

    def __repr__(self) -> str:
        return "<Register>"


class Hello(_Message, frozen=True, tag="hello"):
    """Open a session as a known node: `body` is a `HelloBody`, `packs` as in `register`."""

    body: bytes
    proof: Proof
    packs: bytes = b""

    def __repr__(self) -> str:
        return "<Hello>"


class RotateKey(_Message, frozen=True, tag="rotate_key"):
    """Swap the node key: `body` is a `RotateBody`, proved under both keys over one challenge."""

    body: bytes
    old_proof: Proof
    new_proof: Proof


class ChallengeRequest(_Message, frozen=True, tag="challenge.request"):
    """Ask for a fresh challenge."""


class Heartbeat(_Message, frozen=True, tag="heartbeat"):
    """A sign of life, every 30 s. `digest` and `position` are of the map that the node holds.

    `hits`: what the filter's rules let in or refused since the last report, by `rule` of the filter; what none
    accepted under 0. `flows`: what was exchanged with peers since the last report, by their stable ids.
    """

    position: Position | None = None
    digest: bytes = b""
    metrics: NodeMetrics | None = None
    hits: Hits = {}
    flows: Flows = {}


class Endpoints(_Message, frozen=True, tag="endpoints"):
    """Where the node's tunnel may be reached: `address:port`, IPv6 in brackets. At most 32."""

    endpoints: tuple[str, ...]


class Query(_Message, frozen=True, tag="query.peers"):
    """Ask for peers of the asker's own view by stable id, name or address; one of them, or none for all."""

    id: int
    node: int | None = None
    name: str | None = None
    address: str | None = None


class Resync(_Message, frozen=True, tag="resync"):
    """Ask for the whole map."""


class HeldHead(_Message, frozen=True, tag="head"):
    """A signed head that the node was given in an earlier session."""

    signed: bytes


class NodeBye(_Message, frozen=True, tag="bye"):
    """The node leaves by intent. `logout` also removes it from the network."""

    reason: str = ""
    logout: bool = False


FromServer = (
    Challenge
    | Welcome
    | Pending
    | Refusal
    | MapUnchanged
    | MapFull
    | MapColumns
    | MapDelta
    | HeartbeatAck
    | Answer
    | RotateOrder
    | Rotated
    | LogHead
    | ServerBye
)
FromNode = Register | Hello | RotateKey | ChallengeRequest | Heartbeat | Endpoints | Query | Resync | HeldHead | NodeBye
