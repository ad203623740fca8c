"""Census: the users and nodes of one moment, and what policies are told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ghostwire.model.node import Node
from ghostwire.model.user import User
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts


def served_routes(node: Node) -> tuple[str, ...]:
    """The prefixes that a node offers and may serve."""
    return tuple(route for route in node.approved_routes if route in node.routable_routes)


def policy_facts(node: Node) -> NodeFacts:
    """What the policy is told of a node."""
    return NodeFacts(
        id=node.slot,
        user=node.user_id,
        tags=node.tags,
        addresses=(node.ipv4, node.ipv6),
        routes=served_routes(node),
        os=node.os,
        version=node.agent_version,
        country=node.country,
        region=node.region,
    )


def user_facts(users: Iterable[User]) -> list[UserFacts]:
    """What the policy is told of users."""
    return [UserFacts(id=user.id, name=user.name, email=user.email, role=user.role) for user in users]


@dataclass(frozen=True, slots=True)
class Directory:
    """Whom policies can be tried on, also by another thread. `at` is the time for windows, UTC nanoseconds."""

    users: tuple[UserFacts, ...]
    nodes: tuple[NodeFacts, ...]
    pools: tuple[str, ...]
    at: int = 0

    def build(self, policy: Policy, bindings: Mapping[str, int] | None = None) -> Engine:
        """The policy over them; names mean who is called so now, unless `bindings` say whom they mean."""
        return Engine.build(policy, self.users, self.nodes, self.pools, bindings, at=self.at)


@dataclass(frozen=True, slots=True)
class Census:
    """The rows of users and nodes as they stood at one moment: quick to take, also of very many.

    `at` is that moment, UTC nanoseconds.
    """

    users: tuple[User, ...]
    nodes: tuple[Node, ...]
    pools: tuple[str, ...]
    at: int = 0

    def directory(self, among: Callable[[Node], bool] | None = None) -> Directory:
        """Them as policies see them, those left out who have expired; of the nodes those `among`, all unless given."""
        present = (node for node in self.nodes if not node.expired and (among is None or among(node)))
        return Directory(tuple(user_facts(self.users)), tuple(map(policy_facts, present)), self.pools, self.at)
