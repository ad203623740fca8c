"""What REST answers with. No secret is in any of these but the two that show a new one, once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from ghostwire.model.credential import ApiToken, PreauthKey, Scope
from ghostwire.model.keys import MachineKey, NodeKey
from ghostwire.model.node import Node, NodeHealth, NodeMetrics, NodeStatus, NodeType
from ghostwire.model.time import SECOND
from ghostwire.model.user import Role, User
from ghostwire.server.store.metrics import MetricsPoint


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all of them."""


def moment(utc: int) -> datetime | None:
    """A point in time, None for never. `utc` is nanoseconds."""
    if not utc:
        return None
    seconds, rest = divmod(utc, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


class NodeView(View, frozen=True, kw_only=True):
    """A node. It has a user or tags, never both. One that is not in maintenance is active while it is online."""

    id: int
    name: str
    ipv4: str
    ipv6: str
    user: str | None
    user_id: int | None
    tags: tuple[str, ...]
    online: bool
    last_seen: datetime | None
    endpoints: tuple[str, ...]
    node_key: str
    machine_key: str
    status: NodeStatus
    node_type: NodeType
    region: str
    country: str
    os: str
    agent_version: str
    ephemeral: bool
    routable_routes: tuple[str, ...]
    approved_routes: tuple[str, ...]
    created_at: datetime | None
    key_expiry: datetime | None
    expired: bool
    rotation_ordered: bool

    @classmethod
    def of(cls, node: Node, user: User | None, health: NodeHealth, endpoints: tuple[str, ...]) -> NodeView:
        """The view of a node's record and of what was last heard of it."""
        return cls(
            id=node.id,
            name=node.name,
            ipv4=node.ipv4,
            ipv6=node.ipv6,
            user=user.name if user is not None else None,
            user_id=node.user_id,
            tags=node.tags,
            online=health.is_online,
            last_seen=moment(health.last_seen),
            endpoints=endpoints,
            node_key=str(NodeKey(node.node_key)),
            machine_key=str(MachineKey(node.machine_key)),
            status="offline" if node.status == "active" and not health.is_online else node.status,
            node_type=node.node_type,
            region=node.region,
            country=node.country,
            os=node.os,
            agent_version=node.agent_version,
            ephemeral=node.ephemeral,
            routable_routes=node.routable_routes,
            approved_routes=node.approved_routes,
            created_at=moment(node.created_at),
            key_expiry=moment(node.key_expiry),
            expired=node.expired,
            rotation_ordered=node.rotation_ordered,
        )


class NodeDetails(NodeView, frozen=True, kw_only=True):
    """A node and its metadata, in base64: ciphertext that only the owner reads."""

    metadata: bytes

    @classmethod
    def of_view(cls, view: NodeView, metadata: bytes) -> NodeDetails:
        """The view of a node together with its metadata."""
        return cls(**msgspec.structs.asdict(view), metadata=metadata)


class NodeList(View, frozen=True, kw_only=True):
    """Nodes by id. `total` counts all that match; `next` is the `after` of the next page, None on the last."""

    nodes: list[NodeView]
    total: int
    next: int | None


class HealthView(View, frozen=True, kw_only=True):
    """How a node is. Times in seconds."""

    node_id: int
    is_online: bool
    last_seen: datetime | None
    time_since_last_heartbeat: float | None
    consecutive_misses: int
    in_grace_period: bool
    metrics: NodeMetrics | None

    @classmethod
    def of(cls, health: NodeHealth, metrics: NodeMetrics | None) -> HealthView:
        """The view of a node's liveness and of the last metrics that it told."""
        return cls(
            node_id=health.node_id,
            is_online=health.is_online,
            last_seen=moment(health.last_seen),
            time_since_last_heartbeat=health.time_since_last_heartbeat,
            consecutive_misses=health.consecutive_misses,
            in_grace_period=health.in_grace_period,
            metrics=metrics,
        )


class MetricsPointView(View, frozen=True, kw_only=True):
    """What a node told within a step that starts at `at`: gauges' means, totals as they stood at its end."""

    at: datetime | None
    samples: int
    load_factor: float
    latency_ms: float
    bandwidth_mbps: float
    uptime_seconds: int
    bytes_in: int
    bytes_out: int


class MetricsView(View, frozen=True, kw_only=True):
    """A node's metrics over a stretch of time. `step` is in seconds; a step without a heartbeat has no point."""

    node_id: int
    since: datetime | None
    until: datetime | None
    step: float
    points: list[MetricsPointView]

    @classmethod
    def of(cls, node: int, stretch: tuple[int, int, int], points: list[MetricsPoint]) -> MetricsView:
        """The view of points that sum up `stretch`: start, end and step in nanoseconds."""
        since, until, step = stretch
        shown = [MetricsPointView(**{**msgspec.structs.asdict(point), "at": moment(point.at)}) for point in points]
        return cls(node_id=node, since=moment(since), until=moment(until), step=step / SECOND, points=shown)


class UserView(View, frozen=True, kw_only=True):
    """A user, and how many nodes they own."""

    id: int
    name: str
    display_name: str
    email: str
    role: Role
    nodes: int
    created_at: datetime | None

    @classmethod
    def of(cls, user: User, nodes: int) -> UserView:
        """The view of a user's record."""
        return cls(
            id=user.id,
            name=user.name,
            display_name=user.display_name,
            email=user.email,
            role=user.role,
            nodes=nodes,
            created_at=moment(user.created_at),
        )


class UserList(View, frozen=True, kw_only=True):
    """Every user, by id."""

    users: list[UserView]


class KeyView(View, frozen=True, kw_only=True):
    """A pre-auth key, without its secret. `uses_left` is None for a reusable one."""

    id: int
    user: str | None
    tags: tuple[str, ...]
    uses_left: int | None
    ephemeral: bool
    created_at: datetime | None
    created_by: str
    expires_at: datetime | None
    revoked: bool
    usable: bool

    @classmethod
    def of(cls, key: PreauthKey, user: User | None, utc: int) -> KeyView:
        """The view of a key's record at the time `utc`."""
        spent = key.uses_left is not None and key.uses_left <= 0
        return cls(
            id=key.id,
            user=user.name if user is not None else None,
            tags=key.tags,
            uses_left=key.uses_left,
            ephemeral=key.ephemeral,
            created_at=moment(key.created_at),
            created_by=key.created_by,
            expires_at=moment(key.expires_at),
            revoked=key.revoked,
            usable=not (key.revoked or spent or utc >= key.expires_at),
        )


class KeyList(View, frozen=True, kw_only=True):
    """Every pre-auth key, by id; those that ended 30 days ago are gone, but a key whose node stands is kept."""

    keys: list[KeyView]


class NewKey(View, frozen=True, kw_only=True):
    """A new pre-auth key. `key` is shown this once; `command` joins a machine with it."""

    id: int
    key: str
    expires_at: datetime | None
    server: str
    pin: str | None
    command: str

    def __repr__(self) -> str:
        return f"<NewKey {self.id}>"


class TokenView(View, frozen=True, kw_only=True):
    """An operator's token, without its secret. `user` is whom it acts as, where it belongs to one who is there."""

    id: int
    name: str
    scope: Scope
    user: str | None
    created_at: datetime | None
    created_by: str
    expires_at: datetime | None
    revoked: bool
    usable: bool

    @classmethod
    def of(cls, token: ApiToken, users: Mapping[int, str], utc: int) -> TokenView:
        """The view of a token's record at the time `utc`; `users` are names by id."""
        orphaned = token.user_id is not None and token.user_id not in users
        return cls(
            id=token.id,
            name=token.name,
            scope=token.scope,
            user=None if token.user_id is None else users.get(token.user_id),
            created_at=moment(token.created_at),
            created_by=token.created_by,
            expires_at=moment(token.expires_at),
            revoked=token.revoked,
            usable=not (token.revoked or orphaned or utc >= token.expires_at),
        )


class TokenList(View, frozen=True, kw_only=True):
    """Every operator's token, by id; those that ended 30 days ago are gone."""

    tokens: list[TokenView]


class NewToken(View, frozen=True, kw_only=True):
    """A new operator's token. `token` is shown this once."""

    id: int
    token: str
    scope: Scope
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"<NewToken {self.id}>"
