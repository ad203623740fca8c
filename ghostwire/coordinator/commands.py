"""Commands: everything that can be asked of the coordinator, already authenticated, parsed and capped.

`op` is the asker's number for the request; exactly one `Reply` or `Refuse` with it follows. `actor` says who asks, as
it stands in the log: `node:7`, `admin:unix:0`, `token:3`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ghostwire.coordinator.policy_aside import Built
from ghostwire.errors import GhostwireError
from ghostwire.model.beat import Beat
from ghostwire.model.credential import Scope
from ghostwire.model.flow import Flow
from ghostwire.model.node import NodeFacts, NodeMetrics
from ghostwire.model.policy import Connection
from ghostwire.model.position import Position
from ghostwire.model.user import Role


class Command(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """What all commands carry. On a link they are arrays that begin with the command's name."""

    op: int
    actor: str


# Nodes, asked by nodes.


class RegisterNode(Command, frozen=True, kw_only=True):
    """Join: the proof of `node_key` has been checked. Replies `Registered`.

    Without a pre-auth key only a known, unexpired node may (re-)register. The same node key: same node, same address;
    the same node key with the same pre-auth key counts one use. With `session` it opens the node's session as well,
    whose token is in the same commit, and replies `SessionOpened`.
    """

    node_key: bytes
    machine_key: bytes
    facts: NodeFacts
    preauth_key: str | None = None
    session: bool = False

    def __repr__(self) -> str:
        return f"<RegisterNode {self.node_key.hex()[:8]}>"


class OpenSession(Command, frozen=True, kw_only=True):
    """Open the live session of the node with this (proved) key. Replies `SessionOpened`.

    `token` may be the last session token or None: a proof alone is enough. `resume` is where the node's map stands.
    """

    node_key: bytes
    token: str | None = None
    resume: Position | None = None
    digest: bytes = b""

    def __repr__(self) -> str:
        return f"<OpenSession {self.node_key.hex()[:8]}>"


class SessionClosed(Command, frozen=True, kw_only=True):
    """The connection of session `session` of node `node` is gone. A number older than the live one changes nothing."""

    node: int
    session: int
    intent: bool = False


class AdoptSession(Command, frozen=True, kw_only=True):
    """A session that an earlier run of the coordinator opened lives on; its map is as of `held`.

    Replies `SessionOpened` with what the node is still to be sent, which may be nothing. Refused with `NotFoundError`
    when the node has another session by now, or may have none.
    """

    node: int
    session: int
    held: Position | None = None


class HeartbeatNode(Command, frozen=True, kw_only=True):
    """A sign of life in a live session, and perhaps what the filter's rules did and peers exchanged.

    Replies the position that the map may move to, or None.
    """

    node: int
    session: int
    position: Position | None = None
    digest: bytes = b""
    metrics: NodeMetrics | None = None
    hits: dict[int, int] = {}
    flows: dict[int, Flow] = {}


class HearNodes(Command, frozen=True, kw_only=True):
    """Signs of life that those who serve the sessions have answered already. Replies `None`."""

    beats: list[Beat]


class SetEndpoints(Command, frozen=True, kw_only=True):
    """Where the node's tunnel may be reached (volatile). Replies `None`."""

    node: int
    session: int
    endpoints: tuple[str, ...]


class ResyncNode(Command, frozen=True, kw_only=True):
    """Ask for the map of a live session: all of it, or what came after `resume`. Replies the frames to send.

    For a node that asks, and for the server when it had to skip frames of a slow session. Refused with
    `ResourceExhaustedError` when a node asks too often.
    """

    node: int
    session: int
    resume: Position | None = None


class RotateNodeKey(Command, frozen=True, kw_only=True):
    """Swap the node key; both proofs have been checked. Replies `KeyRotated`."""

    node: int
    node_key: bytes
    new_key: bytes


class LogoutNode(Command, frozen=True, kw_only=True):
    """The node removes itself. Replies `None` once durable."""

    node: int


# Nodes, asked by operators.


class RenameNode(Command, frozen=True, kw_only=True):
    """Give a node another name. Replies the `Node`."""

    node: int
    name: str


class ExpireNode(Command, frozen=True, kw_only=True):
    """End a node's key: it must register again with a pre-auth key. Replies the `Node`."""

    node: int


class DeleteNode(Command, frozen=True, kw_only=True):
    """Remove a node; its key is refused for ever and its address rests. Replies `None`."""

    node: int


class TagNode(Command, frozen=True, kw_only=True):
    """Replace a node's owner by tags (or change the tags). Replies the `Node`."""

    node: int
    tags: tuple[str, ...]


class ApproveRoutes(Command, frozen=True, kw_only=True):
    """Set which of a node's routable prefixes it may serve. Replies the `Node`."""

    node: int
    routes: tuple[str, ...]


class SetNodeStatus(Command, frozen=True, kw_only=True):
    """Put a node into or out of maintenance. Replies the `Node`."""

    node: int
    status: Literal["active", "maintenance"]


class OrderRotation(Command, frozen=True, kw_only=True):
    """Tell a node to rotate its key: now, or when it next opens a session. Replies `None`."""

    node: int


# Users, keys, tokens, policy.


class CreateUser(Command, frozen=True, kw_only=True):
    """Create a user. Replies the `User`."""

    name: str
    display_name: str = ""
    email: str = ""
    role: Role = "member"


class SetUserRole(Command, frozen=True, kw_only=True):
    """Change a user's role. Replies the `User`."""

    user: int
    role: Role


class DeleteUser(Command, frozen=True, kw_only=True):
    """Delete a user; refused with `ConflictError` while they own nodes. Replies `None`."""

    user: int


class CreatePreauthKey(Command, frozen=True, kw_only=True):
    """Make a pre-auth key for a user (made on demand) or for tags. Replies `KeyCreated`.

    `granted` is the asker's own scope: a tagged key needs `admin`, another one `write`.
    """

    user: str | None = None
    tags: tuple[str, ...] = ()
    uses: int | None = 1
    ephemeral: bool = False
    life_s: float = 3600.0
    granted: Scope = "admin"


class RevokePreauthKey(Command, frozen=True, kw_only=True):
    """End a pre-auth key. Replies `None`."""

    key: int


class CreateApiToken(Command, frozen=True, kw_only=True):
    """Make an operator's token. Nobody mints beyond `granted`, the asker's own scope. Replies `TokenCreated`.

    Who uses it asks for access, and approves it, as `user`; None for a token that belongs to nobody.
    """

    name: str
    scope: Scope
    granted: Scope
    life_s: float
    user: int | None = None


class RevokeApiToken(Command, frozen=True, kw_only=True):
    """End an operator's token. Replies `None`."""

    token: int


class ApplyPolicy(Command, frozen=True, kw_only=True):
    """Put a policy text in force. A text that allows everything needs `allow_all`. Replies the `PolicyVersion`.

    With `confirm_within_s` it waits: unless a `ConfirmPolicy` comes in time, the version before comes back. While one
    waits another needs `replace`. `force` overrides objections: failing tests, a cut of one of the asker's own
    `connections`, a wait for a version that only takes access away.
    """

    text: str
    author: str
    note: str = ""
    allow_all: bool = False
    confirm_within_s: float | None = None
    replace: bool = False
    force: bool = False
    connections: tuple[Connection, ...] = ()


class ConfirmPolicy(Command, frozen=True, kw_only=True):
    """Keep the version that waits, `number` if given. Replies the `PolicyVersion`.

    `connected_at` is when the asker's connection was made (UTC nanoseconds): only one made after the version came into
    force shows that it still lets the asker in.
    """

    connected_at: int
    number: int | None = None


class RollbackPolicy(Command, frozen=True, kw_only=True):
    """Bring an earlier version back, as a new one: `number`, 0 for the default policy, None for the one before.

    Replies the `PolicyVersion`. It ends a wait; `force` and `connections` are those of `ApplyPolicy`.
    """

    number: int | None = None
    note: str = ""
    force: bool = False
    connections: tuple[Connection, ...] = ()


# Access that ends by itself. `user` is whom the asker acts as.


class RequestAccess(Command, frozen=True, kw_only=True):
    """Ask to reach node `target` at `ports`, as in a grant, for `duration_s` seconds. Replies the `AccessRequest`.

    `source` is the one node of the user that it is for, None for all of them.
    """

    user: int
    target: int
    ports: tuple[str, ...]
    duration_s: int
    source: int | None = None
    reason: str = ""


class ApproveAccess(Command, frozen=True, kw_only=True):
    """Approve a request, which opens what it asks for at once. Replies the `AccessRequest`.

    `digest` is that of the request which the approver has seen. `holder` is the user whom the asker's token belongs
    to, where it acts as another.
    """

    request: int
    user: int
    digest: bytes
    holder: int | None = None


class DenyAccess(Command, frozen=True, kw_only=True):
    """Refuse a request for good; its approvers may, and who asked for it. Replies the `AccessRequest`."""

    request: int
    user: int
    reason: str = ""


class RevokeAccess(Command, frozen=True, kw_only=True):
    """End access before its time; its approvers may, and who asked for it. Replies the `AccessRequest`."""

    request: int
    user: int
    reason: str = ""


# The coordinator's own, when a deadline has come. Nobody is answered.


class RemoveIdleNode(Command, frozen=True, kw_only=True):
    """Remove an ephemeral node that was away too long."""

    node: int


class WakeAddresses(Command, frozen=True, kw_only=True):
    """Let addresses that have rested be given again."""


class PurgeCredentials(Command, frozen=True, kw_only=True):
    """Remove pre-auth keys and operators' tokens that ended long ago. Replies `None`."""


class SweepTokens(Command, frozen=True, kw_only=True):
    """Clean up session tokens that have lapsed."""


class NoteTime(Command, frozen=True, kw_only=True):
    """Make the highest time seen durable."""


class RevertPolicy(Command, frozen=True, kw_only=True):
    """Nobody has confirmed version `number` in time: the one before comes back."""

    number: int


class NoteBindings(Command, frozen=True, kw_only=True):
    """Make durable which user each name of the policy in force means."""


class EndAccess(Command, frozen=True, kw_only=True):
    """Make durable that access has ended whose rule, requester, approver or nodes are gone."""


class TurnWindows(Command, frozen=True, kw_only=True):
    """A window of the policy has opened or closed, or access has come to its end."""


# From the driver.


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """The store has fsynced the `Persist` with this number."""

    persist: int
    seq: int
    ts: int


class SlotRested(msgspec.Struct, frozen=True, kw_only=True):
    """The `RestSlot` of this slot is carried out: it may be given again."""

    slot: int


class PolicyBuilt(msgspec.Struct, frozen=True, kw_only=True):
    """The `BuildPolicy` with this number is carried out: what was built, or why nothing was."""

    build: int
    built: Built | None = None
    error: GhostwireError | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """The store refused the `Persist`: `conflict` when a row had moved on or a unique value was taken."""

    persist: int
    conflict: bool
    error: Any


Answer = Committed | Failed | PolicyBuilt | SlotRested
"""What comes back of effects that were carried out."""
