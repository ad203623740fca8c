"""Reads. They see committed state only, and a node sees no more than its own view."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple, NoReturn

from ghostwire.coordinator.access_standing import grants
from ghostwire.coordinator.addresses import PoolStatistics
from ghostwire.coordinator.census import Census, served_routes
from ghostwire.coordinator.core import Core
from ghostwire.coordinator.counters import Counters
from ghostwire.coordinator.pacing import Pacer
from ghostwire.coordinator.policy_explain import Answer, Behind, Explainer
from ghostwire.coordinator.rule_hits import RuleCount
from ghostwire.errors import NotFoundError, ResourceExhaustedError
from ghostwire.model.access import AccessRequest
from ghostwire.model.credential import ApiToken, PreauthKey
from ghostwire.model.node import Node, NodeHealth, NodeMetrics
from ghostwire.model.policy import PolicyTrial, PolicyVersion
from ghostwire.model.position import Position
from ghostwire.model.time import SECOND, Now
from ghostwire.model.user import User
from ghostwire.policy import Engine
from ghostwire.wire.messages import MAX_SERVER_FRAME, MapFull, Parts
from ghostwire.wire.netmap import NetMap

_ROOM: Final = 4096


class Question(NamedTuple):
    """What is asked about the policy: from node `source` to node `target`, or an address `behind` it.

    Without a port, the first one that is allowed.
    """

    source: Node
    target: Node
    protocol: int
    port: int | None = None
    behind: Behind | None = None


class View:
    """What may be read. Every method that names something raises `NotFoundError` where there is no such thing."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # Nodes.

    def node(self, node: int) -> Node:
        """The node with this id."""
        return self._core.nodes.get(node)

    def node_by_name(self, name: str) -> Node:
        """The node with this name."""
        found = self._core.state.node_by_name.get(name)
        if found is None:
            raise NotFoundError(f"there is no node {name!r}")
        return found

    def node_by_key(self, node_key: bytes) -> Node:
        """The node with this key."""
        found = self._core.state.node_by_key.get(node_key)
        if found is None:
            raise NotFoundError("there is no node with this key")
        return found

    def nodes(self) -> tuple[Node, ...]:
        """Every node, by id."""
        return tuple(sorted(self._core.state.nodes.values(), key=lambda node: node.id))

    def health(self, node: int, now: Now | None = None) -> NodeHealth:
        """A node's liveness, at `now` or at the time last handed to the coordinator."""
        self.node(node)
        return self._core.liveness.health(node, now or self._core.now)

    def endpoints(self, node: int) -> tuple[str, ...]:
        """Where a node's tunnel may be reached, as it said last."""
        self.node(node)
        return self._core.liveness.get(node).endpoints

    def metrics(self, node: int) -> NodeMetrics | None:
        """What a node's last heartbeat with metrics said."""
        self.node(node)
        return self._core.liveness.get(node).metrics

    def session(self, node: int) -> int | None:
        """The number of a node's live session, None without one."""
        self.node(node)
        return self._core.sessions.live(node)

    def live_sessions(self) -> int:
        """How many sessions are live."""
        return self._core.sessions.count()

    # Maps.

    def netmap(self, node: int) -> NetMap:
        """A node's map as an administrator may see it."""
        record = self.node(node)
        if record.expired:
            raise NotFoundError(f"node {record.name!r} has expired and has no map")
        core = self._core
        parts = core.mapper.parts(record)
        found = NetMap()
        found.apply_page(
            MapFull(
                page=0,
                parts=Parts(**parts.single, peers=parts.peers, profiles=parts.profiles),
                last=True,
                position=core.mapper.position,
                digest=parts.digest,
            )
        )
        return found

    def peers(
        self, asker: int, node: int | None = None, name: str | None = None, address: str | None = None
    ) -> tuple[bytes, ...]:
        """Peers of the asker's own view, encoded as in its map: the one that is named, or all of them.

        What lies outside the view is refused exactly like what does not exist. Raises `ResourceExhaustedError` when
        all of them are more than one frame holds.
        """
        core = self._core
        seen = core.mapper.peer_ids(self.node(asker))
        if node is None and name is None and address is None:
            if core.mapper.fragments.size(seen) + _ROOM > MAX_SERVER_FRAME:
                raise ResourceExhaustedError("there are more peers than one answer holds: name one")
            return tuple(core.mapper.fragments.of(seen).values())
        found: Node | None
        if node is not None:
            found = core.state.nodes.get(node)
        elif name is not None:
            found = core.state.node_by_name.get(name.removesuffix(f".{core.settings.domain}"))
        else:
            found = core.state.node_by_address.get(address or "")
        if found is None or found.slot not in seen:
            _no_peer()
        return (core.mapper.fragments.one(found.slot),)

    # Users, credentials, policy, pools.

    def user(self, user: int) -> User:
        """The user with this id."""
        return self._core.users.get(user)

    def user_by_name(self, name: str) -> User:
        """The user with this login name."""
        found = self._core.state.user_by_name.get(name.lower())
        if found is None:
            raise NotFoundError(f"there is no user {name!r}")
        return found

    def users(self) -> tuple[User, ...]:
        """Every user, by id."""
        return tuple(sorted(self._core.state.users.values(), key=lambda user: user.id))

    def nodes_of(self, user: int) -> tuple[Node, ...]:
        """The nodes that a user owns, by id."""
        return tuple(sorted(self._core.state.nodes_of.get(user, {}).values(), key=lambda node: node.id))

    def preauth_keys(self) -> tuple[PreauthKey, ...]:
        """Every pre-auth key, by id; what is kept of it."""
        return tuple(sorted(self._core.state.preauth_keys.values(), key=lambda key: key.id))

    def api_tokens(self) -> tuple[ApiToken, ...]:
        """Every operator's token, by id; what is kept of it."""
        return tuple(sorted(self._core.state.api_tokens.values(), key=lambda token: token.id))

    def check_api_token(self, secret: str, now: Now) -> ApiToken:
        """The operator's token with this secret. Raises `AuthenticationError`."""
        return self._core.api_tokens.check(secret, max(now.utc, self._core.now.utc))

    def policy(self) -> PolicyVersion | None:
        """The policy in force; None where none was ever applied and the default holds."""
        return self._core.state.policy

    def policy_versions(self) -> tuple[PolicyVersion, ...]:
        """Every version that was ever in force, by number."""
        return tuple(sorted(self._core.state.policies.values(), key=lambda version: version.number))

    def policy_version(self, number: int) -> PolicyVersion:
        """One version; 0 is the default policy."""
        return self._core.versions.get(number)

    def rule_counts(self) -> dict[int, RuleCount]:
        """What nodes have reported of rules, by their ids."""
        return self._core.hits.counts()

    def policy_trial(self) -> PolicyTrial | None:
        """The version that waits for its confirmation, if one does."""
        return self._core.versions.waiting()

    def access_requests(self) -> tuple[AccessRequest, ...]:
        """Every access request, newest first."""
        return tuple(sorted(self._core.state.access.values(), key=lambda request: -request.id))

    def access_request(self, request: int) -> AccessRequest:
        """One access request."""
        return self._core.access.get(request)

    def access_approvers(self, request: AccessRequest) -> tuple[int, ...]:
        """The users who may approve a request as the policy stands."""
        return self._core.access.approvers(request)

    @property
    def domain(self) -> str:
        """The domain that nodes' names end in."""
        return self._core.settings.domain

    def policy_census(self, at: int | None = None) -> Census:
        """Whom a policy would be about, as things stand: what another thread may try policies on.

        `at` is the time for windows, UTC nanoseconds; now unless given.
        """
        return self._core.views.census(self._core.now.utc if at is None else at)

    def policy_bindings(self) -> dict[str, int]:
        """Which user each name of the policy in force means."""
        return dict(self._core.views.bindings)

    def explain_policy(self, question: Question, tried: tuple[Engine, int] | None = None) -> Answer:
        """Why one node may reach another, or an address behind it, and the other way round; neither has expired.

        `tried` is the policy in force as built for another time, and that time in UTC nanoseconds.
        """
        core = self._core
        source, target, protocol, port, behind = question
        for node in (source, target):
            if node.slot not in core.views.slots:
                raise NotFoundError(f"node {node.name!r} has expired: nobody reaches it")
        version = core.state.policy or core.versions.get(0)
        engine, at = (core.views.engine, core.now.utc) if tried is None else tried
        if tried is not None:
            engine.set_access(grants(core.state, engine, at))
        when = datetime.fromtimestamp(at // SECOND, UTC)
        explainer = Explainer(engine, version, core.state.users, core.settings.domain, when)
        if behind is not None:
            return explainer.answer_behind(source, target, behind, protocol, port)
        return explainer.answer(source, target, protocol, port)

    def node_at(self, address: str) -> tuple[Node, Behind | None]:
        """The node that has this address, else the one that serves the narrowest network with it."""
        found = self._core.state.node_by_address.get(address)
        if found is not None:
            return found, None
        sought = ip_address(address)
        routers = [
            (-ip_network(route).prefixlen, node.id, Behind(address, route))
            for node in self._core.state.nodes.values()
            if not node.expired
            for route in served_routes(node)
            if sought in ip_network(route)
        ]
        if not routers:
            raise NotFoundError(f"no node has the address {address}, and none serves a network with it")
        _, router, behind = min(routers)
        return self._core.nodes.get(router), behind

    def addresses(self) -> tuple[PoolStatistics, PoolStatistics]:
        """How full the IPv4 and the IPv6 pool are."""
        return self._core.addresses.statistics()

    def position(self) -> Position:
        """Where the coordinator stands."""
        return self._core.mapper.position

    @property
    def pacer(self) -> Pacer:
        """The windows in which changes are told."""
        return self._core.mapper.pacer

    @property
    def counters(self) -> Counters:
        """Counts since the start."""
        return self._core.counters


def _no_peer() -> NoReturn:
    raise NotFoundError("there is no such peer")
