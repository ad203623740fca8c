"""The slow twin of the policy engine: walks every rule for every question, keeps nothing, and is obviously right.

It knows groups, tags, roles, hosts, prefixes, `*`, autogroups of devices, ports and protocols, in `acls` and in
`grants` with `ip`, and all of the key `ghostwire`. Rules come as plain mappings. An identity stands for both families
of addresses; in a denial one address of a node stands for the node.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ghostwire.policy import AccessGrant, NodeFacts, UserFacts
from tests.reference.windows import is_open

DEFAULT = (6, 17, 1, 58)
PROTOCOLS = {"": DEFAULT, "tcp": (6,), "udp": (17,), "icmp": (1,), "sctp": (132,), "gre": (47,)}
WITH_PORTS = (6, 17, 132)
POOLS = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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


class Access(NamedTuple):
    """A part of a rule: sources, one destination, and what may or may not go there."""

    sources: list[str]
    name: str
    protocols: tuple[int, ...]
    ports: str
    when: list[str]

    def holds(self, proto: int, port: int) -> bool:
        return proto in self.protocols and (proto not in WITH_PORTS or in_ports(self.ports, port))

    def is_everything(self) -> bool:
        return len(self.protocols) == 256 and self.ports == "*"

    def edges(self) -> set[int]:
        """Ports beside which what is said may change."""
        numbers = [int(part) for part in re.findall(r"\d+", self.ports)]
        return {0, 65535} | {number + by for number in numbers for by in (-1, 0, 1) if 0 <= number + by <= 65535}


class Twin:
    """A policy (plain mapping), users and nodes at one time, with access that was approved."""

    def __init__(
        self,
        policy: dict[str, Any],
        users: Iterable[UserFacts],
        nodes: Iterable[NodeFacts],
        at: int = 0,
        access: Iterable[AccessGrant] = (),
    ) -> None:
        self.policy = policy
        self.own = policy.get("ghostwire", {})
        self.users = {user.id: user for user in users}
        self.nodes = {node.id: node for node in nodes}
        self.now = at
        self.access = list(access)
        self.accepting, self.denying = list(self.accesses()), list(self.denials())

    def holds(self, limits: dict[str, Any]) -> bool:
        return is_open(limits, self.own.get("schedules", {}), self.now)

    def accesses(self) -> Iterator[Access]:
        """Every rule that accepts and is in force taken apart."""
        sections = {*self.policy, *self.own}
        if not sections & {"acls", "grants"}:
            yield Access(["*"], "*", DEFAULT, "*", [])
        for place in (self.policy, self.own):
            for rule in filter(self.holds, place.get("acls", ())):
                for text in rule["dst"]:
                    name, _, ports = text.rpartition(":")
                    yield Access(rule["src"], name, PROTOCOLS[rule.get("proto", "")], ports, rule.get("when", []))
            for rule in filter(self.holds, place.get("grants", ())):
                for text in rule["ip"]:
                    proto, _, ports = text.rpartition(":")
                    for name in rule["dst"]:
                        yield Access(rule["src"], name, PROTOCOLS[proto], ports, rule.get("when", []))
        for grant in self.access:
            source = f"#user:{grant.user}" if grant.source is None else f"#node:{grant.source}"
            for text in grant.ip if self.now < grant.until else ():
                proto, _, ports = text.rpartition(":")
                for name in grant.destinations:
                    target = f"#node:{name}" if isinstance(name, int) else name
                    yield Access([source], target, PROTOCOLS[proto], ports, [])

    def denials(self) -> Iterator[Access]:
        """Every rule that denies and is in force taken apart."""
        for rule in filter(self.holds, self.own.get("deny", ())):
            for text in rule.get("ip") or ["*"]:
                proto, _, ports = text.rpartition(":")
                bare = tuple(range(256)) if ports == "*" else WITH_PORTS
                for name in rule["dst"]:
                    yield Access(rule["src"], name, PROTOCOLS[proto] if proto else bare, ports, rule.get("when", []))

    def fulfils(self, when: list[str], node: NodeFacts) -> bool:
        return not when or any(all(self.is_so(text, node) for text in self.own["conditions"][name]) for name in when)

    def is_so(self, text: str, node: NodeFacts) -> bool:
        """One condition: a fact, `==`, `!=` or `>=`, and a value."""
        fact, how, value = text.split()
        value = value.strip("'")
        if fact in ("tag", "attribute"):
            has = value in (node.tags if fact == "tag" else self.attributes(node))
            return has == (how == "==")
        known = {"os": node.os, "version": node.version, "country": node.country, "region": node.region}[fact]
        if not known:
            return False
        if how == ">=":
            return [int(part) for part in known.split(".")] >= [int(part) for part in value.split(".")]
        return (known == value) == (how == "==")

    def attributes(self, node: NodeFacts) -> set[str]:
        given = (
            entry for entry in self.policy.get("nodeAttrs", ()) if any(self.matches(t, node) for t in entry["target"])
        )
        return {name for entry in given for name in entry["attr"]}

    def denied(self, src: NodeFacts, dst: NodeFacts) -> list[Access]:
        """What is denied between two nodes."""
        return [
            access
            for access in self.denying
            if self.fulfils(access.when, src)
            and any(
                self.is_beside(source, src, dst)
                if access.name == "autogroup:self"
                else self.matches(source, src) and self.matches(access.name, dst)
                for source in access.sources
            )
        ]

    def decide(self, src_id: int, dst_id: int, proto: int, port: int) -> bool:
        src, dst = self.nodes.get(src_id), self.nodes.get(dst_id)
        if src is None or dst is None:
            return False
        return any(
            access.holds(proto, port)
            and self.fulfils(access.when, src)
            and any(self.connects(source, access.name, src, dst) for source in access.sources)
            for access in self.accepting
        ) and not any(access.holds(proto, port) for access in self.denied(src, dst))

    def decide_address(self, src_ip: str, dst_ip: str, proto: int, port: int) -> bool:
        """Whether a packet from one address to another may be."""
        src, dst = ipaddress.ip_address(src_ip), ipaddress.ip_address(dst_ip)
        if src.version != dst.version:
            return False

        def is_about(access: Access, whole: bool) -> bool:
            if not access.holds(proto, port) or (access.when and not self.fulfils_at(access.when, src)):
                return False
            if access.name == "autogroup:self":
                owners = [self.owner_at(src), self.owner_at(dst)]
                return (
                    None not in owners
                    and owners[0] == owners[1]
                    and any(self.covers(source, src, True, whole) for source in access.sources)
                )
            return self.covers(access.name, dst, False, whole) and any(
                self.covers(source, src, True, whole) for source in access.sources
            )

        accepted = any(is_about(access, False) for access in self.accepting)
        return accepted and not any(is_about(access, True) for access in self.denying)

    def node_at(self, address: Address) -> NodeFacts | None:
        mine = (
            node for node in self.nodes.values() if any(ipaddress.ip_address(one) == address for one in node.addresses)
        )
        return next(mine, None)

    def owner_at(self, address: Address) -> int | None:
        node = self.node_at(address)
        return None if node is None or node.tags else node.user

    def fulfils_at(self, when: list[str], address: Address) -> bool:
        node = self.node_at(address)
        return node is not None and self.fulfils(when, node)

    def covers(self, name: str, address: Address, as_source: bool, whole: bool) -> bool:
        """Whether a name stands for an address: its own, or (`whole`) any of the node that has it."""
        node, prefix = self.node_at(address), self.prefix(name)
        if name == "*":
            routes = [route for other in self.nodes.values() for route in other.routes]
            known = any(address in ipaddress.ip_network(net) for net in (*POOLS, *routes))
            return not as_source or node is not None or known
        if prefix is None:
            return node is not None and self.is_identity(name, node)
        return address in prefix or (whole and node is not None and self.matches(name, node))

    def sees(self, src: NodeFacts, dst: NodeFacts) -> bool:
        """Whether something that a rule accepts between the two, or through what either serves, is not denied."""
        denied = self.denied(src, dst)
        for access in self.accepting:
            if not self.fulfils(access.when, src):
                continue
            open_ = any(not any(one.holds(*sample) for one in denied) for sample in self.samples(access, denied))
            for source in access.sources:
                if open_ and self.connects(source, access.name, src, dst):
                    return True
                if any(
                    not self.denied_beyond(*parts, src, dst) for parts in self.beyond(source, access.name, src, dst)
                ):
                    return True
        return False

    @staticmethod
    def samples(access: Access, denied: list[Access]) -> set[tuple[int, int]]:
        """Connections of an access among which one is open if any is."""
        ports = {edge for one in (access, *denied) for edge in one.edges()}
        return {
            (proto, port)
            for proto in access.protocols
            for port in (ports if proto in WITH_PORTS else {0})
            if access.holds(proto, port)
        }

    def beyond(self, source: str, name: str, src: NodeFacts, dst: NodeFacts) -> Iterator[tuple[str, str]]:
        """Through which routes an access leads: source and destination, empty for the nodes themselves."""
        behind = name != "autogroup:self" and self.serves(source, src)
        before = name != "autogroup:self" and self.serves(name, dst)
        if behind and before:
            yield source, name
        if behind and name != "autogroup:self" and self.matches(name, dst):
            yield source, ""
        if before and self.matches(source, src):
            yield "", name

    def denied_beyond(self, source: str, name: str, src: NodeFacts, dst: NodeFacts) -> bool:
        """Whether one denial of everything is about all of it."""

        def is_about(mine: str, theirs: str, node: NodeFacts) -> bool:
            if not mine or theirs == "*":
                return self.matches(theirs, node)
            inner, outer = self.prefix(mine), self.prefix(theirs)
            return (
                inner is not None
                and outer is not None
                and inner.version == outer.version
                and (
                    outer.network_address <= inner.network_address
                    and inner.broadcast_address <= outer.broadcast_address
                )
            )

        return any(
            access.is_everything()
            and access.name != "autogroup:self"
            and self.fulfils(access.when, src)
            and is_about(name, access.name, dst)
            and any(is_about(source, theirs, src) for theirs in access.sources)
            for access in self.denying
        )

    def visible(self, node_id: int) -> set[int]:
        me = self.nodes.get(node_id)
        if me is None:
            return set()
        others = (node for node in self.nodes.values() if node.id != node_id)
        return {node.id for node in others if self.sees(me, node) or self.sees(node, me)}

    def is_beside(self, source: str, src: NodeFacts, dst: NodeFacts) -> bool:
        own = src.user is not None and src.user == dst.user and not src.tags and not dst.tags
        return own and self.matches(source, src)

    def connects(self, source: str, name: str, src: NodeFacts, dst: NodeFacts) -> bool:
        if name == "autogroup:self":
            return self.is_beside(source, src, dst)
        if self.prefix(source) is None or self.prefix(name) is None:
            return self.matches(source, src) and self.matches(name, dst)
        return any(self.at(source, src, version) and self.at(name, dst, version) for version in (4, 6))

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
        if name.startswith("#node:"):
            return name == f"#node:{node.id}"
        user = self.users.get(node.user) if node.user is not None and not node.tags else None
        return user is not None and self.is_user(name, user)

    def is_user(self, name: str, user: UserFacts) -> bool:
        if name == "autogroup:member":
            return True
        if name.startswith("autogroup:"):
            return name == f"autogroup:{user.role}"
        if name.startswith("#user:"):
            return name == f"#user:{user.id}"
        if name.startswith("group:"):
            timed = filter(self.holds, self.own.get("groups", {}).get(name, ()))
            members = [*self.policy.get("groups", {}).get(name, ()), *(entry["member"] for entry in timed)]
            return any(self.is_user(member, user) for member in members)
        return name in (user.email, f"{user.name}@")
