"""How often the policy's rules decided something, as nodes report it: never more than a hint, for a node may lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.snapshot import RuleHits

NO_RULE: Final = 0
"""Stands for what no rule accepted."""


class RuleCount(msgspec.Struct, frozen=True):
    """How often a rule let something in or refused it, when that was last told (UTC nanoseconds), by how many nodes."""

    hits: int = 0
    last: int = 0
    nodes: int = 0


class HitLedger:
    """Adds up reports by the ids of rules. A rule keeps its count as long as it says the same, also across versions."""

    def __init__(self) -> None:
        self._counts: dict[int, RuleCount] = {}
        self._nodes: dict[int, BitMap] = {}
        self._fresh: set[int] = set()

    def restore(self, kept: Iterable[RuleHits]) -> None:
        """Take over what was flushed before the start."""
        for count in kept:
            nodes = self._nodes[count.rule] = BitMap.deserialize(count.nodes)
            self._counts[count.rule] = RuleCount(count.hits, count.last, len(nodes))

    def report(self, node: int, hits: Mapping[int, int], utc: int, is_rule: Callable[[int], bool]) -> None:
        """Add what a node counted. What is no rule of the policy in force is left out: it has just been another."""
        for rule, count in hits.items():
            if count and (rule == NO_RULE or is_rule(rule)):
                nodes = self._nodes.setdefault(rule, BitMap())
                nodes.add(node)
                before = self._counts.get(rule, RuleCount())
                self._counts[rule] = RuleCount(before.hits + count, utc, len(nodes))
                self._fresh.add(rule)

    def counts(self) -> dict[int, RuleCount]:
        """A copy of all counts, by rule."""
        return dict(self._counts)

    def take_fresh(self) -> tuple[RuleHits, ...]:
        """The counts that have moved since this was last asked."""
        fresh = []
        for rule in sorted(self._fresh):
            count = self._counts[rule]
            fresh.append(RuleHits(rule=rule, hits=count.hits, last=count.last, nodes=self._nodes[rule].serialize()))
        self._fresh.clear()
        return tuple(fresh)
