"""Seeded networks and policies to measure the policy engine with: the same seed gives the same text and facts.

*scale*: what `ghostwire simulate` plays on, 50,000 tagged nodes of which each sees 200, and 10,000 one service.
*identity*: 100,000 rules over 5,000 users in 500 groups and 300 tags, 50,000 nodes. *mixed*: 30 % of the names are
prefixes out of 3,000. *owners*: 50,000 users with one device each under the default policy.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import msgspec

from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts, default_policy
from ghostwire.testing.load.topology import Topology

USERS, GROUPS, TAGS, PREFIXES = 5_000, 500, 300, 3_000
SERVICES = 4_250
"""Combinations of tags in use: machines of one service carry the same ones."""


@dataclass(frozen=True, slots=True)
class Network:
    """A policy as text (None for the default) and as plain rules, and what it is applied to."""

    document: dict[str, object] | None
    users: list[UserFacts]
    nodes: list[NodeFacts]

    @property
    def text(self) -> str:
        return msgspec.json.encode(self.document).decode()

    def policy(self) -> Policy:
        return default_policy() if self.document is None else Policy.parse(self.text)

    def engine(self) -> Engine:
        return Engine.build(self.policy(), self.users, self.nodes)


def address(number: int) -> str:
    return f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _nodes(draw: random.Random, count: int) -> list[NodeFacts]:
    """Two fifths of the nodes are machines of services, with one or two tags; the others are users' devices."""
    services = [tuple(f"tag:t{t}" for t in draw.sample(range(TAGS), draw.choice((1, 2, 2)))) for _ in range(SERVICES)]
    found = []
    for i in range(count):
        tagged = draw.random() < 0.4
        tags = draw.choice(services) if tagged else ()
        user = None if tagged else draw.randrange(USERS) + 1
        number = 0x10000 + i * 3
        found.append(
            NodeFacts(
                id=i,
                user=user,
                tags=tags,
                addresses=(address(number), f"fd7a:115c:a1e0::{number >> 16:x}:{number & 0xFFFF:x}"),
            )
        )
    return found


def _ports(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.3:
        return "*"
    if kind < 0.7:
        return str(draw.choice((22, 53, 80, 443, 3306, 5432, 6443, 8080, 8443, 9090)))
    first = draw.randrange(1, 60_000)
    return f"{first}-{first + draw.randrange(1, 2_000)}"


def _prefix(draw: random.Random, count: int) -> str:
    length = draw.choice((20, 22, 24, 26, 28, 32))
    number = (0x10000 + draw.randrange(count * 3)) & ~((1 << (32 - length)) - 1)
    return f"{address(number)}/{length}"


def ruled(rules: int, nodes: int, prefix_share: float, seed: int = 7) -> Network:
    """A policy of `rules` with one or two names a side, a share of which are prefixes."""
    draw = random.Random(seed)
    people = [UserFacts(id=i + 1, name=f"u{i}", email=f"u{i}@example.com") for i in range(USERS)]
    groups: dict[str, list[str]] = {f"group:g{g}": [] for g in range(GROUPS)}
    for user in people:
        for group in draw.sample(range(GROUPS), draw.randrange(1, 7)):
            groups[f"group:g{group}"].append(user.email)
    prefixes = [_prefix(draw, nodes) for _ in range(PREFIXES)]

    def name() -> str:
        if draw.random() < prefix_share:
            return draw.choice(prefixes)
        kind = draw.random()
        if kind < 0.45:
            return f"group:g{draw.randrange(GROUPS)}"
        return f"tag:t{draw.randrange(TAGS)}" if kind < 0.9 else draw.choice(people).email

    acls = []
    for _ in range(rules):
        rule: dict[str, object] = {"action": "accept", "src": [name() for _ in range(draw.randrange(1, 3))]}
        rule["dst"] = [f"{name()}:{_ports(draw)}" for _ in range(draw.randrange(1, 3))]
        if draw.random() < 0.4:
            rule["proto"] = draw.choice(("tcp", "udp"))
        acls.append(rule)
    owners = {f"tag:t{t}": ["autogroup:admin"] for t in range(TAGS)}
    document = {"groups": groups, "tagOwners": owners, "acls": acls}
    return Network(document, people, _nodes(draw, nodes))


def identity(rules: int = 100_000, nodes: int = 50_000) -> Network:
    return ruled(rules, nodes, 0.0)


def mixed(rules: int = 100_000, nodes: int = 50_000) -> Network:
    return ruled(rules, nodes, 0.3)


def scale(nodes: int = 50_000, visible: int = 200) -> Network:
    topology = Topology(nodes, visible)
    found = [
        NodeFacts(id=number, user=None, tags=(topology.tag(number),), addresses=(address(0x10000 + number),))
        for number in range(nodes)
    ]
    return Network(json.loads(topology.policy()), [], found)


def owners(users: int = 50_000) -> Network:
    people = [UserFacts(id=i + 1, name=f"u{i}", email=f"u{i}@example.com") for i in range(users)]
    nodes = [NodeFacts(id=i, user=i + 1, addresses=(address(0x10000 + i),)) for i in range(users)]
    return Network(None, people, nodes)
