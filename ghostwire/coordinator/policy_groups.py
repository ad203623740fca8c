"""Nodes that policies do not tell apart: of one class in each of them, and on the same side of every address named."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import msgspec

from ghostwire.coordinator.policy_text import document
from ghostwire.policy import Engine, NodeFacts

_LITERAL: Final = re.compile(r"[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]+(?:/\d{1,3})?")


@dataclass(frozen=True)
class Group:
    """Nodes that are told apart by their owners at most."""

    number: int
    nodes: tuple[NodeFacts, ...]

    @property
    def first(self) -> NodeFacts:
        """One that stands for all."""
        return self.nodes[0]

    @cached_property
    def slots(self) -> tuple[int, ...]:
        """The slots of all, in order."""
        return tuple(sorted(node.id for node in self.nodes))

    @cached_property
    def by_owner(self) -> dict[int | None, list[NodeFacts]]:
        """The nodes of each owner; those without one under None."""
        found: dict[int | None, list[NodeFacts]] = {}
        for node in self.nodes:
            found.setdefault(node.user, []).append(node)
        return found

    @cached_property
    def owners(self) -> frozenset[int]:
        """Who owns some of them."""
        return frozenset(owner for owner in self.by_owner if owner is not None)

    @cached_property
    def faces(self) -> tuple[NodeFacts, ...]:
        """Enough nodes to find two that do not have one owner: of three owners at most, two of those without."""
        found: list[NodeFacts] = []
        for owner, nodes in self.by_owner.items():
            found.extend(nodes[: 2 if owner is None else 1])
            if len(found) > 3:
                break
        return tuple(found)

    def but(self, slot: int) -> tuple[int, ...]:
        """The slots of all but this one."""
        return tuple(other for other in self.slots if other != slot) if slot in self._members else self.slots

    @cached_property
    def _members(self) -> frozenset[int]:
        return frozenset(self.slots)

    def of(self, owner: int) -> Sequence[NodeFacts]:
        """The nodes of one owner."""
        return self.by_owner.get(owner, ())


def group_nodes(texts: Iterable[str], engines: Sequence[Engine], nodes: Iterable[NodeFacts]) -> list[Group]:
    """The groups, numbered in order: of one class in each engine, and on one side of all addresses in the texts."""
    bounds = _bounds(texts)
    found: dict[tuple[object, ...], list[NodeFacts]] = {}
    for node in nodes:
        classes = tuple(engine.class_of(node.id) for engine in engines)
        places = tuple(bisect_right(bounds, _key(address)) for address in node.addresses)
        found.setdefault((classes, places), []).append(node)
    return [Group(number, tuple(members)) for number, members in enumerate(found.values())]


def lone_addresses(prefixes: Iterable[str]) -> dict[str, str]:
    """The first address of each prefix that is in no narrower one of these, which stands for all such.

    Prefixes that narrower ones cover are left out.
    """
    networks = sorted(
        (network.version, int(network.network_address), -int(network.broadcast_address), prefix)
        for prefix, network in ((prefix, ip_network(prefix)) for prefix in prefixes)
    )
    # Prefixes are apart or within each other. By prefix: where it ends, and the first place that no narrower one has.
    places: dict[str, list[int]] = {}
    around: list[tuple[int, int, str]] = []
    for version, first, last, prefix in networks:
        while around and (around[-1][0] != version or around[-1][1] < first):
            around.pop()
        if around and places[around[-1][2]][0] == first:
            places[around[-1][2]][0] = -last + 1
        places[prefix] = [first, -last]
        around.append((version, -last, prefix))
    return {
        prefix: str(IPv6Address(place) if ":" in prefix else IPv4Address(place))
        for prefix, (place, last) in places.items()
        if place <= last
    }


def _key(address: str) -> tuple[int, int]:
    parsed = ip_address(address)
    return parsed.version, int(parsed)


def _bounds(texts: Iterable[str]) -> list[tuple[int, int]]:
    """Where the addresses that texts name begin and end, sorted. What only looks like an address does no harm."""
    found: set[tuple[int, int]] = set()
    for text in texts:
        # An address may be written with escapes, its slash most of all: JSON allows it.
        plain = msgspec.json.encode(document(text)).decode() if "\\" in text else text
        for literal in set(_LITERAL.findall(plain)):
            for candidate in (literal, literal.rpartition(":")[0]):
                try:
                    network = ip_network(candidate, strict=False)
                except ValueError:
                    continue
                found.add((network.version, int(network.network_address)))
                found.add((network.version, int(network.broadcast_address) + 1))
    return sorted(found)
