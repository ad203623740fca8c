"""Who may reach whom, listed by groups of nodes: edges found target by target become few groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Literal

import msgspec

from ghostwire.coordinator.policy_ports import Access
from ghostwire.errors import ValidationError

Pairs = Literal["all", "same owner", "other owners"]
MOST_LISTED: Final = 1 << 23
"""So many pairs of groups are put together, and so many nodes named in what comes of it: 64 MiB each."""
MOST_KEPT: Final = 1 << 17
"""So many groups of edges are kept that have no end in common: some 64 MiB."""


class EdgeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """From each of these sources to each of these targets (slots), itself left out: `count` edges.

    `pairs` says whether that holds for all of them or only where both have one owner, or have not. `route` is the
    prefix behind the target that is meant instead of the target's own addresses.
    """

    sources: tuple[int, ...]
    targets: tuple[int, ...]
    access: Access
    count: int
    pairs: Pairs = "all"
    route: str = ""


@dataclass(slots=True)
class _Joined:
    """Edges that have one end in common, by the groups at their other end."""

    first: EdgeGroup
    ends: list[tuple[int, ...]] = field(default_factory=list)
    count: int = 0

    def take(self, end: tuple[int, ...], count: int) -> None:
        self.ends.append(end)
        self.count += count


class EdgeList:
    """Edges of any number of targets; those that differ in one end only become one group."""

    def __init__(self) -> None:
        self._by_source: dict[tuple[object, ...], _Joined] = {}
        self._pairs = 0

    def add(self, edges: Iterable[EdgeGroup]) -> None:
        """Take in the edges to one target. ValidationError if there are too many by now."""
        both: dict[tuple[object, ...], EdgeGroup] = {}
        for edge in edges:
            key = edge.sources, edge.access, edge.route
            known = both.get(key)
            if known is not None:
                edge = msgspec.structs.replace(edge, pairs="all", count=edge.count + known.count)
            both[key] = edge
        self._pairs += len(both)
        _bound(self._pairs, MOST_LISTED)
        for edge in both.values():
            _bound(len(self._by_source), MOST_KEPT)
            joined = self._by_source.setdefault((edge.sources, edge.access, edge.pairs, edge.route), _Joined(edge))
            joined.take(edge.targets, edge.count)

    def groups(self) -> tuple[EdgeGroup, ...]:
        """What there is, most edges first. ValidationError if it names too many nodes."""
        by_targets: dict[tuple[object, ...], tuple[_Joined, list[tuple[int, ...]]]] = {}
        for joined in self._by_source.values():
            edge = joined.first
            # Targets share no node, and come in one order whatever the sources: one slot stands for each.
            targets = tuple(end[0] for end in joined.ends)
            key = targets, edge.access, edge.pairs, edge.route
            sources, _ = by_targets.setdefault(key, (_Joined(edge), joined.ends))
            sources.take(edge.sources, joined.count)
        found = by_targets.values()
        _bound(sum(len(end) for sources, targets in found for end in chain(sources.ends, targets)), MOST_LISTED)
        groups = [
            msgspec.structs.replace(
                sources.first, sources=_union(sources.ends), targets=_union(targets), count=sources.count
            )
            for sources, targets in found
        ]
        return tuple(sorted(groups, key=lambda edge: (-edge.count, edge.sources, edge.targets)))


def _union(ends: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted(set(chain.from_iterable(ends))))


def _bound(count: int, most: int) -> None:
    if count > most:
        raise ValidationError(
            "the policies differ between more groups of nodes, or name more nodes in these, than can be listed"
            f" ({most}): compare them in smaller steps"
        )
