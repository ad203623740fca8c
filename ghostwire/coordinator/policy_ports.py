"""Protocols and ports as a diff asks about them: one probe for each range that rules tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ghostwire.model.filter import FilterRule

Access = tuple[str, ...]
"""What is allowed, as in `("icmp", "tcp 22,8000-8080")`; `*` for everything."""
_WITH_PORTS: Final = (6, 17, 132)
NAMES: Final = {
    1: "icmp",
    2: "igmp",
    6: "tcp",
    17: "udp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    132: "sctp",
}
_LAST: Final = 65535
OTHER: Final = "other"
"""Every protocol that no rule names."""


class Point(NamedTuple):
    """A protocol, a range of ports within which no rule begins or ends, and what the protocol is called."""

    protocol: int
    port: int
    last: int
    name: str

    @property
    def port_counts(self) -> bool:
        """Whether the protocol has ports."""
        return self.protocol in _WITH_PORTS


def points_of(rules: Iterable[FilterRule]) -> tuple[Point, ...]:
    """Where these rules may answer differently. A protocol that none names stands for all the others."""
    starts, protocols = {0}, set[int]()
    every = False
    names = dict(NAMES)
    for rule in rules:
        for first, last in rule.ports:
            starts.update((first, last + 1) if last < _LAST else (first,))
        protocols.update(rule.protocols)
        every = every or not rule.protocols
    if every:
        protocols.update((*_WITH_PORTS, 1, 58))
        other = next((number for number in range(255, -1, -1) if number not in protocols), 255)
        protocols.add(other)
        names[other] = OTHER
    firsts = sorted(starts)
    spans = tuple(zip(firsts, (*(first - 1 for first in firsts[1:]), _LAST), strict=True))
    return tuple(
        Point(protocol, first, last, names.get(protocol, str(protocol)))
        for protocol in sorted(protocols)
        for first, last in (spans if protocol in _WITH_PORTS else ((0, _LAST),))
    )


def admits(rule: FilterRule, point: Point) -> bool:
    """Whether a rule is about this protocol and port."""
    if rule.protocols and point.protocol not in rule.protocols:
        return False
    return not rule.ports or not point.port_counts or any(first <= point.port <= last for first, last in rule.ports)


def differing(points: Sequence[Point], before: Sequence[bool], after: Sequence[bool]) -> Access:
    """What is allowed after and was not before."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for at, point in enumerate(points):
        if before[at] or not after[at]:
            continue
        spans = ranges.setdefault(point.name, [])
        if spans and spans[-1][1] + 1 == point.port:
            spans[-1] = (spans[-1][0], point.last)
        else:
            spans.append((point.port, point.last))
    named: dict[str, list[str]] = {}
    for name, spans in ranges.items():
        named.setdefault(_spell(spans), []).append(name)
    if OTHER in ranges and len(ranges) == len({point.name for point in points}) == len(named.get("", ())):
        return ("*",)
    return tuple(sorted(f"{','.join(names)} {ports}".rstrip() for ports, names in named.items()))


def _spell(spans: Iterable[tuple[int, int]]) -> str:
    return ",".join(
        str(first) if first == last else f"{first}-{last}" for first, last in spans if (first, last) != (0, _LAST)
    )
