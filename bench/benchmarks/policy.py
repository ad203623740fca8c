"""Decisions, compilation and changes of the policy engine at 100,000 rules and 50,000 nodes.

Beside them `pyroaring` as one would use it from Python: a set of rules for each node as a source and as a
destination, intersected, then ports looked at rule by rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from pyroaring import BitMap

from bench import policies
from bench.cases import least_cpu
from ghostwire.policy import Engine, NodeFacts, Policy
from tests.reference.policy import Twin

QUESTIONS = 200_000
MOST_CLASSES = 100
"""So many classes at most are those that an edited rule of groups touches."""


@cache
def network(name: str) -> policies.Network:
    found: policies.Network = getattr(policies, name)()
    return found


@cache
def compiled(name: str) -> Engine:
    engine = network(name).engine()
    engine.decide(0, 1, 6, 80)
    return engine


@cache
def questions() -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(3)
    nodes = [draw.integers(0, 50_000, QUESTIONS, dtype=np.uint32) for _ in range(2)]
    protocols = draw.choice(np.array([6, 17], np.uint8), QUESTIONS)
    ports = draw.choice(np.array([22, 53, 80, 443, 5432, 8080, 30_000], np.uint16), QUESTIONS)
    return *nodes, protocols, ports


class Roaring:
    """The same decisions from pyroaring's sets, for networks without prefixes."""

    def __init__(self, given: policies.Network) -> None:
        document = given.document or {}
        groups: dict[str, list[str]] = document["groups"]  # type: ignore[assignment]
        self.ports: list[tuple[tuple[int, ...], int, int]] = []
        by_source: dict[str, BitMap] = {}
        by_target: dict[str, BitMap] = {}
        for rule in document["acls"]:  # type: ignore[attr-defined]
            protocols = {"tcp": (6,), "udp": (17,)}.get(rule.get("proto", ""), (6, 17, 1, 58))
            for target in rule["dst"]:
                name, _, ports = target.rpartition(":")
                first, _, last = ports.partition("-")
                span = (0, 65535) if ports == "*" else (int(first), int(last or first))
                for source in rule["src"]:
                    by_source.setdefault(source, BitMap()).add(len(self.ports))
                by_target.setdefault(name, BitMap()).add(len(self.ports))
                self.ports.append((protocols, *span))
        of_user: dict[str, list[str]] = {}
        for group, members in groups.items():
            for member in members:
                of_user.setdefault(member, [member]).append(group)
        names = [list(n.tags) if n.tags else of_user[f"u{(n.user or 1) - 1}@example.com"] for n in given.nodes]
        self.sources = [BitMap.union(BitMap(), *(by_source.get(n, BitMap()) for n in own)) for own in names]
        self.targets = [BitMap.union(BitMap(), *(by_target.get(n, BitMap()) for n in own)) for own in names]

    def decide(self, source: int, target: int, protocol: int, port: int) -> bool:
        for rule in self.sources[source] & self.targets[target]:
            protocols, first, last = self.ports[rule]
            if protocol in protocols and first <= port <= last:
                return True
        return False


class Decide:
    """One decision in nanoseconds, and how many times pyroaring's that is, in the same minutes."""

    params = ("identity", "mixed")
    timeout = 600

    def setup(self, name: str) -> None:
        self.engine = compiled(name)

    def track_batch_ns(self, name: str) -> float:
        return min(self._batch() for _ in range(7))

    def track_single_ns(self, name: str) -> float:
        return min(self._single() for _ in range(5))

    def track_address_us(self, name: str) -> float:
        """One question about two nodes' addresses, once rules between prefixes are packed, in microseconds."""
        addresses = [node.addresses[0] for node in network(name).nodes]
        asked = [(addresses[s], addresses[t], *kind) for s, t, *kind in zip(*self._some(5_000), strict=True)]
        return min(self._addresses(asked) for _ in range(5))

    def _addresses(self, asked: list[tuple[str, str, int, int]]) -> float:
        decide = self.engine.decide_address
        start = perf_counter()
        for question in asked:
            decide(*question)
        return (perf_counter() - start) / len(asked) * 1e6

    @staticmethod
    def _some(count: int) -> list[list[int]]:
        return [column[:count].tolist() for column in questions()]

    def _batch(self) -> float:
        start = perf_counter()
        self.engine.decide_many(*questions())
        return (perf_counter() - start) / QUESTIONS * 1e9

    def _single(self) -> float:
        asked = list(zip(*self._some(20_000), strict=True))
        decide = self.engine.decide
        start = perf_counter()
        for source, target, protocol, port in asked:
            decide(source, target, protocol, port)
        return (perf_counter() - start) / len(asked) * 1e9

    track_batch_ns.unit = track_single_ns.unit = "ns"  # type: ignore[attr-defined]
    track_address_us.unit = "us"  # type: ignore[attr-defined]


class Guarded:
    """A hundred decisions in a network of 2,000 nodes under 2,000 rules, in an array and one by one."""

    gate_calls = 200

    def setup(self) -> None:
        self.engine = policies.identity(rules=2_000, nodes=2_000).engine()
        draw = np.random.default_rng(3)
        nodes = [draw.integers(0, 2_000, 100, dtype=np.uint32) for _ in range(2)]
        self.asked = *nodes, np.full(100, 6, np.uint8), np.full(100, 443, np.uint16)
        self.singly = list(zip(*(column.tolist() for column in self.asked), strict=True))
        self.engine.decide(0, 1, 6, 80)

    def time_decide_many(self) -> None:
        self.engine.decide_many(*self.asked)

    def time_decide(self) -> None:
        decide = self.engine.decide
        for source, target, protocol, port in self.singly:
            decide(source, target, protocol, port)


class AgainstTwin:
    """How many times the slow twin's time that of a decision is, in the small network; answers are compared first."""

    at_least: ClassVar = {"track_batch": 100_000, "track_single": 30_000}

    def setup(self) -> None:
        network = policies.identity(rules=2_000, nodes=2_000)
        self.engine, self.twin = network.engine(), Twin(network.document or {}, network.users, network.nodes)
        draw = np.random.default_rng(3)
        nodes = [draw.integers(0, 2_000, 100_000, dtype=np.uint32) for _ in range(2)]
        self.asked = *nodes, np.full(100_000, 6, np.uint8), np.full(100_000, 443, np.uint16)
        self.singly = list(zip(*(column[:20_000].tolist() for column in self.asked), strict=True))
        for question in self.singly[:20]:
            assert self.twin.decide(*question) == self.engine.decide(*question)

    def track_batch(self) -> float:
        return self._theirs() / (least_cpu(lambda: self.engine.decide_many(*self.asked)) / len(self.asked[0]))

    def track_single(self) -> float:
        decide = self.engine.decide
        return self._theirs() / (least_cpu(lambda: [decide(*each) for each in self.singly]) / len(self.singly))

    def _theirs(self) -> float:
        decide = self.twin.decide
        return least_cpu(lambda: [decide(*each) for each in self.singly[:50]], 2) / 50


class AgainstRoaring:
    """Ratios to pyroaring over the identity network; answers are compared first."""

    timeout = 600
    at_least: ClassVar = {"track_batch": 20, "track_single": 6}

    def setup(self) -> None:
        self.ours = Decide()
        self.ours.setup("identity")
        self.theirs = Roaring(network("identity"))
        self.asked = [tuple(int(column[i]) for column in questions()) for i in range(20_000)]
        for question in self.asked[:2_000]:
            assert self.theirs.decide(*question) == self.ours.engine.decide(*question)

    def _theirs(self) -> float:
        decide = self.theirs.decide
        start = perf_counter()
        for source, target, protocol, port in self.asked:
            decide(source, target, protocol, port)
        return (perf_counter() - start) / len(self.asked) * 1e9

    def track_batch(self) -> float:
        return self._ratio(self.ours._batch)

    def track_single(self) -> float:
        return self._ratio(self.ours._single)

    def _ratio(self, ours: Callable[[], float]) -> float:
        """The middle of five, each side by side, so that both meet the same noise."""
        return sorted(self._theirs() / ours() for _ in range(5))[2]


class Compile:
    """Whole compilations, in seconds: parse apart, then classes, then all cells."""

    params = ("identity", "mixed", "owners", "scale")
    timeout = 900

    def setup(self, name: str) -> None:
        self.network = network(name)
        self.policy = self.network.policy()

    def track_parse(self, name: str) -> float:
        start = perf_counter()
        self.network.policy()
        return perf_counter() - start

    def track_compile(self, name: str) -> float:
        start = perf_counter()
        engine = Engine.build(self.policy, self.network.users, self.network.nodes)
        engine.decide(0, 1, 6, 80)
        return perf_counter() - start

    def track_visible_all(self, name: str) -> float:
        engine = Engine.build(self.policy, self.network.users, self.network.nodes)
        start = perf_counter()
        for node in self.network.nodes:
            engine.visible(node.id)
        return perf_counter() - start

    track_parse.unit = track_compile.unit = track_visible_all.unit = "s"  # type: ignore[attr-defined]


class Filters:
    """The packet filter of one node in the original's shape, the first after a change, in milliseconds."""

    params = ("identity", "mixed")
    timeout = 600

    def setup(self, name: str) -> None:
        self.engine, self.nodes = network(name).engine(), network(name).nodes

    def track_filter(self, name: str) -> float:
        return sorted(self._filter(node) for node in self.nodes[:9])[4]

    def track_sources(self, name: str) -> float:
        """How many addresses the same filters name, to which their time is in proportion."""
        filters = [self.engine.packet_filter(node.id) for node in self.nodes[:9]]
        return sorted(sum(len(rule["SrcIPs"]) for rule in found) for found in filters)[4]

    def _filter(self, node: NodeFacts) -> float:
        self.engine.leave(self.nodes[-1].id)
        self.engine.join(self.nodes[-1])
        start = perf_counter()
        self.engine.packet_filter(node.id)
        return (perf_counter() - start) * 1e3

    track_filter.unit = "ms"  # type: ignore[attr-defined]


class Changes:
    """A node that joins a known class, in microseconds, and one edited rule with its rows, in milliseconds."""

    params = ("identity", "mixed")
    timeout = 900

    def setup(self, name: str) -> None:
        self.network = network(name)
        self.engine = self.network.engine()
        self.engine.decide(0, 1, 6, 80)
        for node in self.network.nodes[:500]:
            self.engine.visible(node.id)
        document: dict[str, Any] = self.network.document or {}
        self.rules: list[dict[str, Any]] = document["acls"]
        self.groups: dict[str, list[str]] = document["groups"]
        owned = [node for node in self.network.nodes if node.user]
        self.classes = {f"u{(node.user or 1) - 1}@example.com": self.engine.class_of(node.id) for node in owned}

    def track_join(self, name: str) -> float:
        taken = []
        for i, like in enumerate(self.network.nodes[:500]):
            node = NodeFacts(id=60_000 + i, user=like.user, tags=like.tags, addresses=(f"100.127.{i >> 8}.{i & 255}",))
            start = perf_counter()
            self.engine.join(node)
            taken.append(perf_counter() - start)
        return sorted(taken)[len(taken) // 2] * 1e6

    def track_edit(self, name: str) -> float:
        """One rule of single users, and so of few classes, gets another port."""
        return min(self._edit(rule, self._other_port) for rule in self._rules("@")[:100:20])

    def track_edit_group(self, name: str) -> float:
        """One rule of groups gets another port: of those that touch up to 100 classes, the first with 90 or more."""
        rules = [rule for rule in self._rules("group:") if MOST_CLASSES * 0.9 <= self._touched(rule) <= MOST_CLASSES]
        return min(self._edit(rule, self._other_port) for rule in rules[:5])

    def _touched(self, place: int) -> int:
        """How many classes a rule names that has groups on both sides, or more than it may where it has others."""
        rule = self.rules[place]
        names = [*rule["src"], *(target.rpartition(":")[0] for target in rule["dst"])]
        if not all(name.startswith("group:") for name in names):
            return MOST_CLASSES + 1
        members = {member for name in names for member in self.groups[name]}
        return len({self.classes[member] for member in members if member in self.classes})

    def track_edit_everyone(self, name: str) -> float:
        """One rule is for everybody everywhere from then on."""
        everyone = {"src": ["*"], "dst": ["*:1234"]}
        return min(self._edit(rule, lambda _: everyone) for rule in self._rules("group:")[:10:2])

    @staticmethod
    def _other_port(rule: dict[str, Any]) -> dict[str, Any]:
        return {"dst": [target.rpartition(":")[0] + ":1234" for target in rule["dst"]]}

    def _rules(self, kind: str) -> list[int]:
        """Places of the rules whose sources are all of a kind."""
        return [i for i, rule in enumerate(self.rules) if all(kind in name for name in rule["src"])]

    def _edit(self, place: int, change: Callable[[dict[str, Any]], dict[str, Any]]) -> float:
        """Edit a rule, and put it back: milliseconds with rows and cells."""
        document = dict(self.network.document or {})
        edited = self.rules.copy()
        edited[place] = edited[place] | change(edited[place])
        there, back = (
            Policy.parse(policies.Network(document | {"acls": acls}, [], []).text) for acls in (edited, self.rules)
        )
        start = perf_counter()
        assert self.engine.edit(there) is not None
        self.engine.decide(0, 1, 6, 80)
        taken = perf_counter() - start
        self.engine.edit(back)
        self.engine.decide(0, 1, 6, 80)
        return taken * 1e3

    track_join.unit = "us"  # type: ignore[attr-defined]
    track_edit.unit = track_edit_group.unit = track_edit_everyone.unit = "ms"  # type: ignore[attr-defined]
