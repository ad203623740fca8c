"""What another policy would change: every edge gained and lost, grouped, and the nodes that this touches.

Nodes that neither policy tells apart are asked about once. Between two such groups an answer depends only on whether
both nodes have one owner, so two pairs of nodes stand for all, at one port of each range that a rule begins or ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np

from ghostwire.coordinator.census import Directory
from ghostwire.coordinator.policy_delta import delta_engine
from ghostwire.coordinator.policy_groups import Group, group_nodes
from ghostwire.coordinator.policy_ports import Access, Point, admits, differing, points_of
from ghostwire.model.filter import FilterRule
from ghostwire.policy import Engine, NodeFacts

Pairs = Literal["all", "same owner", "other owners"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """A policy text and its engine."""

    text: str
    engine: Engine


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


class PolicyDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one policy allows and another does not, and the slots of the nodes on either end."""

    gained: tuple[EdgeGroup, ...]
    lost: tuple[EdgeGroup, ...]
    touched: tuple[int, ...]


MOST_ASKED: Final = 1 << 20
"""So many decisions are asked for at once; each takes a few bytes in each engine."""
Found = tuple[list[EdgeGroup], list[EdgeGroup]]
"""What is gained and what is lost."""


class _Question(NamedTuple):
    """One pair of nodes that stands for `edges` pairs of two groups."""

    source: int
    target: int
    pairs: Pairs
    edges: int
    group: Group


def only_removes(before: Meaning, after: Meaning, directory: Directory) -> bool:
    """Whether the second policy takes access away and gives none."""
    found = compare(before, after, directory)
    return bool(found.lost) and not found.gained


def compare(before: Meaning, after: Meaning, directory: Directory) -> PolicyDiff:
    """Everything that `after` allows and `before` does not, and the other way round, over nodes that both know."""
    engines = before.engine, after.engine
    delta = delta_engine((before.text, after.text), engines, directory)
    judges = engines if delta is None else (*engines, delta)
    groups = group_nodes((before.text, after.text), judges, directory.nodes)
    found: Found = ([], [])
    for target, sources, points in _suspects(engines, delta, groups):
        _own_addresses(engines, target, sources, points, found)
    within = Within(engines[0], groups), Within(engines[1], groups)
    for group in groups:
        for node in group.nodes:
            if node.routes:
                _routes(engines, within, (node, group), groups, found)
    gained, lost = map(_merged, found)
    return PolicyDiff(gained=gained, lost=lost, touched=_touched((*gained, *lost)))


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
    engines: tuple[Engine, Engine], target: Group, sources: Iterable[Group], points: Sequence[Point], into: Found
) -> None:
    """What changes in reaching a group's own addresses."""
    asked = [question for source in sources for question in _questions(source, target)]
    if not asked or not points:
        return
    at_once = max(1, MOST_ASKED // len(points))
    for first in range(0, len(asked), at_once):
        _ask(engines, target, asked[first : first + at_once], points, into)


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
                        sources=_slots(question.group.nodes),
                        targets=_slots(target.nodes),
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
    into: Found,
) -> None:
    """What changes in reaching the networks behind a node of a group."""
    node, own_group = router
    filters = [engine.native_filter(node.id) for engine in engines]
    if within[0].plain(filters[0]) == within[1].plain(filters[1]):
        return
    rules = [rule for rules in filters for rule in rules]
    sources = _sources(filters, within, own_group, groups)
    own = {f"{address}/{128 if ':' in address else 32}" for address in node.addresses}
    prefixes = sorted({prefix for rule in rules for prefix in rule.destinations} - own)
    points = points_of(rules)
    for prefix in prefixes:
        inside = prefix.partition("/")[0]
        for group in sources:
            source = next((address for address in group.first.addresses if (":" in address) == (":" in inside)), None)
            others = [member for member in group.nodes if member.id != node.id]
            if source is None or not others:
                continue
            old, new = (
                [engine.decide_address(source, inside, point.protocol, point.port) for point in points]
                for engine in engines
            )
            for left, right, found in ((old, new, into[0]), (new, old, into[1])):
                access = differing(points, left, right)
                if access:
                    found.append(
                        EdgeGroup(
                            sources=_slots(others),
                            targets=(node.id,),
                            access=access,
                            count=len(others),
                            route=prefix,
                        )
                    )


def _slots(nodes: Iterable[NodeFacts]) -> tuple[int, ...]:
    return tuple(sorted(node.id for node in nodes))


def _merged(found: Iterable[EdgeGroup]) -> tuple[EdgeGroup, ...]:
    """Groups that differ in one end only become one, as far as that lists the same edges."""
    both: dict[tuple[object, ...], EdgeGroup] = {}
    for edge in found:
        key = edge.sources, edge.targets, edge.access, edge.route
        known = both.get(key)
        if known is not None:
            edge = msgspec.structs.replace(edge, pairs="all", count=edge.count + known.count)
        both[key] = edge
    by_source = _joined(both.values(), "targets", lambda edge: edge.sources)
    merged = _joined(by_source, "sources", lambda edge: edge.targets)
    return tuple(sorted(merged, key=lambda edge: (-edge.count, edge.sources, edge.targets)))


def _joined(
    edges: Iterable[EdgeGroup],
    end: Literal["sources", "targets"],
    other: Callable[[EdgeGroup], tuple[int, ...]],
) -> list[EdgeGroup]:
    found: dict[tuple[object, ...], EdgeGroup] = {}
    for edge in edges:
        key = other(edge), edge.access, edge.pairs, edge.route
        known = found.get(key)
        if known is not None:
            slots = tuple(sorted({*getattr(known, end), *getattr(edge, end)}))
            edge = msgspec.structs.replace(known, count=known.count + edge.count, **{end: slots})
        found[key] = edge
    return list(found.values())


def _touched(edges: Iterable[EdgeGroup]) -> tuple[int, ...]:
    return tuple(sorted({slot for edge in edges for slot in (*edge.sources, *edge.targets)}))
