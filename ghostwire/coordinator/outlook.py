"""What nodes see and let in, as one engine says it at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from pyroaring import BitMap

from ghostwire._native import token
from ghostwire.coordinator.class_numbers import ClassNumbers
from ghostwire.model.filter import FilterRule, SightEnd
from ghostwire.model.node import Node
from ghostwire.policy import Engine, FilterRow, Standpoint, filter_rule
from ghostwire.wire.netmap import Filter, encode_part

MOST_KEPT: Final = 8192
"""Filters that are kept encoded: more than a network has classes, unless addresses tell its nodes apart."""

_rows: Final = msgspec.msgpack.Encoder()


class Outlook:
    """Filters of nodes, by slot, with classes by the numbers that maps know them by. `routers` serve routes."""

    def __init__(self, engine: Engine, numbers: ClassNumbers, nodes: Mapping[int, Node], routers: BitMap) -> None:
        self._engine = engine
        self._numbers = numbers
        self._nodes = nodes
        self._routers = routers
        self.tells_apart = engine.tells_nodes_apart
        """Whether filters may tell nodes apart that stand at one place."""
        self._kept: dict[bytes, bytes] = {}
        self._kept_at = -1
        self._from: dict[Standpoint, bytes] = {}

    def look_again(self, *, rules: bool = False) -> None:
        """Filters may be others: of nodes, or with `rules` because the policy's own are."""
        self._from.clear()
        if rules:
            self.tells_apart = self._engine.tells_nodes_apart

    def filter(self, slot: int) -> Filter:
        """What may come in to a node, and until when it sees whom.

        Classes that nobody is in are left out: which ones the engine remembers depends on its history, and a map must
        not. So filters change only when a number gets its first node or loses its last one, when the routes change
        that `*` covers, or, in a policy with postures, conditions or denials, with any node.
        """
        return Filter(rules=self._rules(self._engine.filter_rows(slot)), ends=self._ends(slot))

    def part(self, slot: int) -> bytes:
        """The same, encoded. Nodes with equal rules share the bytes, which are made once for all of them.

        Those who stand at one place have equal rules, unless these are about their own addresses or routes.
        """
        ends, point = self._ends(slot), None
        if not (ends or self.tells_apart or slot in self._routers):
            point = self._engine.standpoint(slot)
            found = self._from.get(point)
            if found is not None:
                return found
        rows = self._engine.filter_rows(slot)
        if ends:
            return encode_part(Filter(rules=self._rules(rows), ends=ends))
        if self._kept_at != self._numbers.turn or len(self._kept) >= MOST_KEPT:
            self._kept, self._kept_at = {}, self._numbers.turn
        key = token.blake3(_rows.encode(rows))
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = encode_part(Filter(rules=self._rules(rows)))
        if point is not None and not any(row[3] for row in rows):
            if len(self._from) >= MOST_KEPT:
                self._from.clear()
            self._from[point] = found
        return found

    def _rules(self, rows: Iterable[FilterRow]) -> tuple[FilterRule, ...]:
        rules = []
        for row in rows:
            engine_classes, same_owner, prefixes = row[:3]
            classes = self._numbers.inhabited(tuple(engine_classes)) if engine_classes else ()
            if classes or same_owner or prefixes:
                rules.append(filter_rule(row, classes, tuple(sorted(set(prefixes))) if prefixes else ()))
        return tuple(rules)

    def _ends(self, slot: int) -> tuple[SightEnd, ...]:
        """Until when a node sees those whom it will not see for good, in order of time."""
        found = self._engine.sight_ends(slot)
        if not (found.classes or found.nodes):
            return ()
        classes: dict[int, list[int]] = {}
        for engine_class, until in found.classes.items():
            classes.setdefault(until, []).append(engine_class)
        nodes: dict[int, list[int]] = {}
        for other, until in found.nodes.items():
            if other in self._nodes:
                nodes.setdefault(until, []).append(self._nodes[other].id)
        ends = []
        for until in sorted(classes.keys() | nodes.keys()):
            numbers = self._numbers.inhabited(tuple(classes.get(until, ())))
            if numbers or until in nodes:
                ends.append(SightEnd(classes=numbers, nodes=tuple(sorted(nodes.get(until, ()))), until=until))
        return tuple(ends)


class Sights:
    """Whom these nodes see, found once for all who see from the same place. What happens later changes nothing."""

    def __init__(self, engine: Engine, slots: Iterable[int]) -> None:
        shared: dict[Standpoint, BitMap] = {}
        self._seen: dict[int, BitMap] = {}
        for slot in slots:
            point = engine.standpoint(slot)
            seen = shared.get(point)
            if seen is None:
                seen = shared[point] = engine.seen_from(slot)
            self._seen[slot] = seen

    def __contains__(self, slot: int) -> bool:
        return slot in self._seen

    def everyone(self) -> BitMap:
        """All whom one of them sees."""
        return BitMap.union(BitMap(), *{id(seen): seen for seen in self._seen.values()}.values())

    def of(self, slot: int) -> BitMap:
        """The peers of one of the nodes."""
        return self._seen[slot] - BitMap([slot])
