"""What another policy would change: every edge gained and lost, grouped, and the nodes that this touches.

Nodes that neither policy tells apart are asked about once. Between two such groups an answer depends only on whether
both nodes have one owner, so two pairs of nodes stand for all, at one port of each range that a rule begins or ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np

from ghostwire.coordinator.census import Directory
from ghostwire.coordinator.policy_delta import delta_engine
from ghostwire.coordinator.policy_edges import EdgeGroup, EdgeList, Pairs
from ghostwire.coordinator.policy_groups import Group, group_nodes, lone_addresses
from ghostwire.coordinator.policy_ports import Point, admits, differing, points_of
from ghostwire.model.filter import FilterRule
from ghostwire.policy import Engine, NodeFacts


@dataclass(frozen=True, slots=True)
class Meaning:
    """A policy text and its engine."""

    text: str
    engine: Engine


class PolicyDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one policy allows and another does not, and the slots of the nodes on either end."""

    gained: tuple[EdgeGroup, ...]
    lost: tuple[EdgeGroup, ...]
    touched: tuple[int, ...]


MOST_ASKED: Final = 1 << 20
"""So many decisions are asked for at once; each takes a few bytes in each engine."""
Found = tuple[list[EdgeGroup], list[EdgeGroup]]
"""What is gained and what is lost at one target."""


class _Question(NamedTuple):
    """One pair of nodes that stands for `edges` pairs of two groups."""

    source: int
    target: int
    pairs: Pairs
    edges: int
    group: Group


def only_removes(before: Meaning, after: Meaning, directory: Directory) -> bool:
    """Whether the second policy takes access away and gives none."""
    removes = False
    for gained, lost in _changes(before, after, directory):
        if gained:
            return False
        removes = removes or bool(lost)
    return removes


def compare(before: Meaning, after: Meaning, directory: Directory) -> PolicyDiff:
    """Everything that `after` allows and `before` does not, and the other way round, over nodes that both know.

    ValidationError if that is too much to be listed.
    """
    edges = EdgeList(), EdgeList()
    for change in _changes(before, after, directory):
        for each, found in zip(edges, change, strict=True):
            each.add(found)
    gained, lost = (each.groups() for each in edges)
    return PolicyDiff(gained=gained, lost=lost, touched=_touched((*gained, *lost)))


def _changes(before: Meaning, after: Meaning, directory: Directory) -> Iterator[Found]:
    """What changes, target by target: at own addresses, then behind nodes that have networks there."""
    engines = before.engine, after.engine
    delta = delta_engine((before.text, after.text), engines, directory)
    judges = engines if delta is None else (*engines, delta)
    groups = group_nodes((before.text, after.text), judges, directory.nodes)
    for target, sources, points in _suspects(engines, delta, groups):
        yield _own_addresses(engines, target, sources, points)
    within = Within(engines[0], groups), Within(engines[1], groups)
    for group in groups:
        for node in group.nodes:
            if node.routes:
                yield _routes(engines, within, (node, group), groups)


def _suspects(
    engines: tuple[Engine, Engine], delta: Engine | None, groups: Sequence[Group]
) -> Iterator[tuple[Group, list[Group], tuple[Point, ...]]]:
    """Where policies may differ: groups of targets, the groups that may reach them, and the ports to ask about."""
    asked = engines if delta is None else (delta,)
    within = tuple(Within(engine, groups) for engine in asked)
    for target in groups:
        filters = [engine.native_filter(target.first.id) for engine in asked]
        if delta is None and within[0].plain(filters[0]) == within[1].plain(filters[1]):
            continue
        sources = _sources(filters, within, target, groups)
        if not sources:
            continue
        around = filters if delta is None else [engine.native_filter(target.first.id) for engine in engines]
        points = points_of([rule for rules in (*filters, *around) for rule in rules])
        if delta is not None:
            # Only what a rule allows that they do not share can differ.
            points = tuple(point for point in points if any(admits(rule, point) for rule in filters[0]))
        yield target, sources, points


class Within:
    """The classes of an engine as the groups that make them up."""

    def __init__(self, engine: Engine, groups: Sequence[Group]) -> None:
        self._members: dict[int, set[int]] = {}
        self._sets: dict[tuple[int, ...], frozenset[int]] = {}
        for group in groups:
            self._members.setdefault(engine.class_of(group.first.id), set()).add(group.number)

    def of(self, classes: tuple[int, ...]) -> frozenset[int]:
        """The numbers of the groups in these classes."""
        found = self._sets.get(classes)
        if found is None:
            none: frozenset[int] = frozenset()
            found = self._sets[classes] = none.union(*(self._members.get(number, none) for number in classes))
        return found

    def plain(self, rules: Sequence[FilterRule]) -> list[tuple[object, ...]]:
        """A filter with its sources as groups, so that those of two engines can be compared."""
        return [(self.of(rule.classes), msgspec.structs.replace(rule, classes=(), rule=0)) for rule in rules]


def _sources(
    filters: Iterable[Sequence[FilterRule]], within: Iterable[Within], target: Group, groups: Sequence[Group]
) -> list[Group]:
    """The groups that some rule of these filters may let in."""
    found: set[int] = set()
    for rules, members in zip(filters, within, strict=True):
        for rule in rules:
            if rule.prefixes:
                return list(groups)
            found |= members.of(rule.classes)
            if rule.same_owner:
                found.update(group.number for group in groups if not group.owners.isdisjoint(target.owners))
    return [groups[number] for number in sorted(found)]


def _own_addresses(
    engines: tuple[Engine, Engine], target: Group, sources: Iterable[Group], points: Sequence[Point]
) -> Found:
    """What changes in reaching a group's own addresses."""
    found: Found = ([], [])
    asked = [question for source in sources for question in _questions(source, target)]
    if not asked or not points:
        return found
    at_once = max(1, MOST_ASKED // len(points))
    for first in range(0, len(asked), at_once):
        _ask(engines, target, asked[first : first + at_once], points, found)
    return found


def _ask(
    engines: tuple[Engine, Engine], target: Group, asked: Sequence[_Question], points: Sequence[Point], into: Found
) -> None:
    """What changes between pairs of nodes."""
    pairs = [(question.source, question.target) for question in asked]
    probes = [(point.protocol, point.port) for point in points]
    old, new = (engine.decide_each(pairs, probes) for engine in engines)
    for at in np.flatnonzero((old != new).any(axis=1)).tolist():
        question = asked[at]
        for left, right, found in ((old[at], new[at], into[0]), (new[at], old[at], into[1])):
            access = differing(points, left.tolist(), right.tolist())
            if access:
                found.append(
                    EdgeGroup(
                        sources=question.group.slots,
                        targets=target.slots,
                        access=access,
                        count=question.edges,
                        pairs=question.pairs,
                    )
                )


def _questions(source: Group, target: Group) -> list[_Question]:
    """At most two pairs that stand for all: of one owner, and not."""
    itself = source.number == target.number
    total = len(source.nodes) * len(target.nodes) - (len(source.nodes) if itself else 0)
    shared = source.owners & target.owners
    same = sum(len(source.of(owner)) * len(target.of(owner)) for owner in shared)
    if itself:
        same -= sum(len(source.of(owner)) for owner in shared)
    found: list[_Question] = []
    if same:
        owner = next(owner for owner in shared if not itself or len(source.of(owner)) > 1)
        ids = source.of(owner)[0].id, target.of(owner)[-1].id
        found.append(_Question(*ids, "same owner" if same < total else "all", same, source))
    if total > same:
        ids = _strangers(source, target)
        found.append(_Question(*ids, "other owners" if same else "all", total - same, source))
    return found


def _strangers(source: Group, target: Group) -> tuple[int, int]:
    """Two nodes that do not have one owner; the caller knows that there are some."""
    return next(
        (left.id, right.id)
        for left in source.faces
        for right in reversed(target.faces)
        if left.id != right.id and (left.user is None or left.user != right.user)
    )


def _routes(
    engines: tuple[Engine, Engine],
    within: tuple[Within, Within],
    router: tuple[NodeFacts, Group],
    groups: Sequence[Group],
) -> Found:
    """What changes in reaching the networks behind a node of a group."""
    node, own_group = router
    changed: Found = ([], [])
    filters = [engine.native_filter(node.id) for engine in engines]
    if within[0].plain(filters[0]) == within[1].plain(filters[1]):
        return changed
    rules = [rule for rules in filters for rule in rules]
    sources = _sources(filters, within, own_group, groups)
    own = {f"{address}/{128 if ':' in address else 32}" for address in node.addresses}
    prefixes = lone_addresses({prefix for rule in rules for prefix in rule.destinations} - own)
    points = points_of(rules)
    for prefix, inside in sorted(prefixes.items()):
        for group in sources:
            source = next((address for address in group.first.addresses if (":" in address) == (":" in inside)), None)
            others = group.but(node.id)
            if source is None or not others:
                continue
            old, new = (
                [engine.decide_address(source, inside, point.protocol, point.port) for point in points]
                for engine in engines
            )
            for left, right, found in ((old, new, changed[0]), (new, old, changed[1])):
                access = differing(points, left, right)
                if access:
                    found.append(
                        EdgeGroup(
                            sources=others,
                            targets=(node.id,),
                            access=access,
                            count=len(others),
                            route=prefix,
                        )
                    )
    return changed


def _touched(edges: Iterable[EdgeGroup]) -> tuple[int, ...]:
    return tuple(sorted({slot for edge in edges for slot in (*edge.sources, *edge.targets)}))
