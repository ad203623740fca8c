"""The slow twin of the policy engine: walks every rule for every question, keeps nothing, and is obviously right.

It knows groups, tags, roles, hosts, prefixes, `*`, autogroups of devices, ports and protocols, in `acls` and in
`grants` with `ip`. Rules come as plain mappings. An identity stands for both families of addresses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from ghostwire.policy import NodeFacts, UserFacts

DEFAULT = (6, 17, 1, 58)
PROTOCOLS = {"": DEFAULT, "tcp": (6,), "udp": (17,), "icmp": (1,), "sctp": (132,), "gre": (47,)}
WITH_PORTS = (6, 17, 132)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def in_ports(text: str, port: int) -> bool:
    for part in text.split(","):
        first, _, last = part.partition("-")
        if part == "*" or int(first) <= port <= int(last or first):
            return True
    return False


class Twin:
    """A policy (plain mapping), users and nodes."""

    def __init__(self, policy: dict[str, Any], users: Iterable[UserFacts], nodes: Iterable[NodeFacts]) -> None:
        self.policy = policy
        self.users = {user.id: user for user in users}
        self.nodes = {node.id: node for node in nodes}

    def accesses(self) -> Iterator[tuple[list[str], str, tuple[int, ...], str]]:
        """Every rule taken apart: sources, one destination, protocols, ports."""
        if "acls" not in self.policy and "grants" not in self.policy:
            yield ["*"], "*", DEFAULT, "*"
        for rule in self.policy.get("acls", ()):
            for text in rule["dst"]:
                name, _, ports = text.rpartition(":")
                yield rule["src"], name, PROTOCOLS[rule.get("proto", "")], ports
        for rule in self.policy.get("grants", ()):
            for text in rule["ip"]:
                proto, _, ports = text.rpartition(":")
                for name in rule["dst"]:
                    yield rule["src"], name, PROTOCOLS[proto], ports

    def decide(self, src_id: int, dst_id: int, proto: int, port: int) -> bool:
        src, dst = self.nodes.get(src_id), self.nodes.get(dst_id)
        if src is None or dst is None:
            return False
        return any(
            proto in protocols
            and (proto not in WITH_PORTS or in_ports(ports, port))
            and any(self.connects(source, name, src, dst) for source in sources)
            for sources, name, protocols, ports in self.accesses()
        )

    def sees(self, src: NodeFacts, dst: NodeFacts) -> bool:
        """Whether some rule connects the two, also through what either serves."""
        return any(
            self.connects(source, name, src, dst) or self.connects_routes(source, name, src, dst)
            for sources, name, _, _ in self.accesses()
            for source in sources
        )

    def visible(self, node_id: int) -> set[int]:
        me = self.nodes.get(node_id)
        if me is None:
            return set()
        others = (node for node in self.nodes.values() if node.id != node_id)
        return {node.id for node in others if self.sees(me, node) or self.sees(node, me)}

    def connects(self, source: str, name: str, src: NodeFacts, dst: NodeFacts) -> bool:
        if name == "autogroup:self":
            own = src.user is not None and src.user == dst.user and not src.tags and not dst.tags
            return own and self.is_identity(source, src)
        if self.prefix(source) is None or self.prefix(name) is None:
            return self.matches(source, src) and self.matches(name, dst)
        return any(self.at(source, src, version) and self.at(name, dst, version) for version in (4, 6))

    def connects_routes(self, source: str, name: str, src: NodeFacts, dst: NodeFacts) -> bool:
        behind, before = self.serves(source, src), self.serves(name, dst)
        return (behind and (before or self.matches(name, dst))) or (before and self.matches(source, src))

    def serves(self, name: str, node: NodeFacts) -> bool:
        prefix = self.prefix(name)
        routes = [ipaddress.ip_network(route) for route in node.routes]
        return prefix is not None and any(r.version == prefix.version and r.overlaps(prefix) for r in routes)

    def at(self, name: str, node: NodeFacts, version: int) -> bool:
        prefix = self.prefix(name)
        addresses = (ipaddress.ip_address(address) for address in node.addresses)
        return prefix is not None and any(a.version == version and a in prefix for a in addresses)

    def matches(self, name: str, node: NodeFacts) -> bool:
        if self.prefix(name) is not None:
            return self.at(name, node, 4) or self.at(name, node, 6)
        return self.is_identity(name, node)

    def prefix(self, name: str) -> Network | None:
        return network(self.policy.get("hosts", {}).get(name, name))

    def is_identity(self, name: str, node: NodeFacts) -> bool:
        if name == "*":
            return True
        if name == "autogroup:tagged":
            return bool(node.tags)
        if name.startswith("tag:"):
            return name in node.tags
        user = self.users.get(node.user) if node.user is not None and not node.tags else None
        return user is not None and self.is_user(name, user)

    def is_user(self, name: str, user: UserFacts) -> bool:
        if name == "autogroup:member":
            return True
        if name.startswith("autogroup:"):
            return name == f"autogroup:{user.role}"
        if name.startswith("group:"):
            return any(self.is_user(member, user) for member in self.policy.get("groups", {}).get(name, ()))
        return name in (user.email, f"{user.name}@")
