"""Answers of a policy over known users and nodes, kept up to date while these change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import numpy as np
from pyroaring import BitMap

from ghostwire._native import policy as native
from ghostwire._native import policy_cells
from ghostwire.errors import NotFoundError, ValidationError
from ghostwire.model.filter import FilterRule
from ghostwire.policy.facts import (
    Explanation,
    Limit,
    Remark,
    RequestRule,
    RuleMatch,
    SightEnds,
    access_row,
    filter_rule,
    node_row,
    user_row,
)
from ghostwire.policy.prefixes import Packing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from ghostwire.policy.facts import AccessGrant, Change, FilterRow, NodeFacts, RuleRow, UserFacts
    from ghostwire.policy.language import Policy

Standpoint = tuple[int, int, int]
"""A class of identities, a class of addresses, and an owner where rules are about devices of one owner, else 0."""
MOST_SIGHTS: Final = 4096
"""Standpoints of which is kept who is seen from there."""
POOLS: Final = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
"""What `*` means as a source unless the network hands out other addresses."""


class Engine(policy_cells.Decisions):
    """A policy bound to users and nodes. Every answer is about the state after the last change handed in.

    It holds as of a time that is handed in (`build`, `turn`), never of a clock: which windows are open then.
    Names of users bind to ids when they first match; a bound name matches nobody else later (`bindings`).
    """

    __slots__ = ("_core", "_packing", "_sights")

    def __init__(self, core: native.Engine) -> None:
        self._core = core
        self._sights: dict[Standpoint, BitMap] = {}
        self._packing = Packing()

    @classmethod
    def build(
        cls,
        policy: Policy,
        users: Iterable[UserFacts],
        nodes: Iterable[NodeFacts],
        pools: Iterable[str] = POOLS,
        bindings: Mapping[str, int] | None = None,
        at: int = 0,
    ) -> Self:
        """Compile a policy over users and nodes; `pools` are what `*` means as a source.

        `bindings` are those of an earlier engine for the same policy text; windows stand as at `at` (UTC nanoseconds).
        Runs without the GIL.
        """
        people, devices = [user_row(user) for user in users], map(node_row, nodes)
        return cls(native.Engine.build(policy.core, people, devices, list(pools), dict(bindings or {}), at))

    @property
    def bindings(self) -> dict[str, int]:
        """The user id that each name of the policy is bound to."""
        return self._core.bindings()

    def check(self) -> None:
        """Run the policy's own `tests` and `sshTests`. ValidationError names the first one that fails."""
        self._core.check()

    def check_instead(self, policy: Policy, at: int) -> None:
        """Run the `tests` of a policy in the place of this one, as of a time. ValidationError names one that fails.

        Another thread may do so while this one is in use.
        """
        self._core.check((policy.core, at))

    @property
    def at(self) -> int:
        """The time as of which every answer holds, UTC nanoseconds."""
        return self._core.at

    def next_turn(self, utc_ns: int) -> int:
        """When the next window opens or closes after a time (UTC nanoseconds), 0 if none ever does."""
        return self._core.next_turn(utc_ns)

    def request(self, user_id: int, dst_id: int, ip: Iterable[str]) -> RequestRule | None:
        """The first rule of `requests` that lets a user ask for all of `ip` (`tcp:22`, `443`, `*`) at a node.

        ValidationError if `ip` cannot be read.
        """
        found = self._core.request(user_id, dst_id, list(ip))
        return None if found is None else RequestRule(found[0], tuple(found[1]), found[2])

    # --- changes

    def turn(self, utc_ns: int) -> BitMap:
        """Come to a time: the ids of the nodes whose peers, class or filter change as windows open and close."""
        return self._ruled(self._core.turn(utc_ns))

    def set_access(self, grants: Iterable[AccessGrant]) -> BitMap:
        """Replace what was approved beside the policy; the ids of the nodes whose peers, class or filter change.

        No `deny` rule yields to it, and none outlives its `until`. ValidationError says what cannot be read.
        """
        return self._ruled(self._core.set_access([access_row(grant) for grant in grants]))

    def join(self, node: NodeFacts) -> BitMap:
        """Add a node; the ids of the nodes whose peers or filter change, itself included."""
        return self.update(node)

    def update(self, node: NodeFacts) -> BitMap:
        """Replace what is known of a node; the ids of the nodes whose peers, filter or class change, itself included.

        Empty when nothing that counts is new.
        """
        return self._moved(self._core.update(node_row(node)))

    def leave(self, node_id: int) -> BitMap:
        """Forget a node; the ids of the nodes that saw it, itself included. Empty when it was not known."""
        return self._moved(self._core.leave(node_id))

    def set_users(self, users: Iterable[UserFacts]) -> BitMap:
        """Replace the users; the ids of the nodes whose peers, class or filter change."""
        return self._moved(self._core.set_users([user_row(user) for user in users]))

    def affected(self, change: Change) -> BitMap:
        """Return what `change` would touch, without making it. ValidationError if a node comes in it and one goes."""
        if change.node is not None and change.leave is not None:
            raise ValidationError("a change is of one node: either one that comes or one that goes")
        if change.node is not None:
            return BitMap.deserialize(self._core.would_update(node_row(change.node)))
        return BitMap() if change.leave is None else BitMap.deserialize(self._core.would_leave(change.leave))

    def can_edit(self, policy: Policy) -> bool:
        """Whether only some rules differ, so that `edit` exchanges the policy."""
        return self._core.can_edit(policy.core)

    def edit(self, policy: Policy) -> BitMap | None:
        """Exchange the policy where only some rules differ: the ids of the nodes whose peers or filter change.

        None, and nothing done, when the difference is more than that: build anew.
        """
        affected = self._core.edit(policy.core)
        return None if affected is None else self._ruled(affected)

    def concerned(self, policy: Policy) -> BitMap:
        """Return whom `edit` may concern, at most: everyone else sees the same peers after it.

        Names that come into use are told apart by from then on.
        """
        found = self._core.concerned(policy.core)
        return BitMap() if found is None else self._moved(found)

    def exchanged(self, before: Engine, known: Mapping[int, int], numbers: Mapping[int, int]) -> BitMap:
        """Return the ids of the nodes whose own class, peers, peers' classes or filter change with this engine.

        It takes the place of one over the same nodes, whose classes are `known` by some numbers, by node, and have
        others then. Runs without the GIL.
        """
        return BitMap.deserialize(self._core.exchanged(before._core, dict(known), dict(numbers)))

    def take_moved(self) -> BitMap:
        """Return the ids of the nodes that were put into a class, their own or another, since this was asked last."""
        return BitMap.deserialize(self._core.take_moved())

    @property
    def tells_owners(self) -> bool:
        """Whether some rule is about devices of one owner: only then do standpoints name owners."""
        return self._core.tells_owners()

    @property
    def tells_nodes_apart(self) -> bool:
        """Whether filters may tell nodes of one class apart: by what they report, or by all addresses of one."""
        return self._core.tells_nodes_apart()

    def _ruled(self, found: bytes) -> BitMap:
        """The same as `_moved` where rules came or went, too."""
        self._packing = Packing()
        return self._moved(found)

    def _moved(self, found: bytes) -> BitMap:
        """Forget what was made of earlier answers, also what a thread that asked before still keeps; whom it found."""
        self.current = False
        self._sights = {}
        return BitMap.deserialize(found)

    # --- answers

    def class_of(self, node_id: int) -> int:
        """Return the class of a node: equal numbers, equal identity for this policy. NotFoundError if unknown."""
        return self._core.class_of(node_id)

    def visible(self, node_id: int) -> BitMap:
        """Return the peers with which traffic may flow, in either direction."""
        try:
            seen = self.seen_from(node_id)
        except NotFoundError:
            return BitMap()
        seen.discard(node_id)
        return seen

    def standpoint(self, node_id: int) -> Standpoint:
        """Return where a node sees from: nodes with the same standpoint see the same nodes, each but itself.

        Numbers of different engines cannot be compared. NotFoundError if the node is unknown.
        """
        return self._core.standpoint(node_id)

    def standpoints(self) -> list[tuple[int, Standpoint]]:
        """Return where each node sees from, by id."""
        return self._core.standpoints()

    def seen_from(self, node_id: int) -> BitMap:
        """Return the peers of all nodes of this one's standpoint: its own, and itself where they see each other.

        They are found once until something changes. NotFoundError if the node is unknown.
        """
        sights, standpoint = self._sights, self._core.standpoint(node_id)
        seen = sights.get(standpoint)
        if seen is None:
            seen = BitMap.deserialize(self._core.seen_from(node_id))
            seen.run_optimize()
            if len(sights) < MOST_SIGHTS:
                sights[standpoint] = seen
        return seen.copy()

    def native_filter(self, node_id: int) -> tuple[FilterRule, ...]:
        """Return what may come in to a node, sources named by class, same owner or prefix."""
        return tuple(filter_rule(row, tuple(row[0]), tuple(row[2])) for row in self._core.native_filter(node_id))

    def filter_rows(self, node_id: int) -> list[FilterRow]:
        """Return the same as the rows that `filter_rule` reads, for those who keep what follows from equal ones."""
        return self._core.native_filter(node_id)

    def decide_each(self, pairs: Sequence[tuple[int, int]], probes: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        """Whether each source of `pairs` may open each protocol and port of `probes` at its target; a row for a pair.

        The answers are those of `decide_many`, which builds cells between all classes first and keeps them: this
        builds none, for questions about few pairs or in networks of many classes. Targets belong side by side.
        """
        answers = self._core.decide_each(pairs, probes)
        return np.frombuffer(answers, np.bool_).reshape(len(pairs), len(probes))

    def decide_address(self, src_ip: str, dst_ip: str, proto: int, port: int) -> bool:
        """Whether a packet between two addresses may be, whether nodes have them or lie behind routers.

        Rules between prefixes are packed once many have asked, and again after rules change.
        """
        rules = self._packing.asked(self._core)
        if rules is None:
            return self._core.decide_address(src_ip, dst_ip, proto, port)
        if not rules.accept(src_ip, dst_ip, proto, port):
            return self._core.decide_address(src_ip, dst_ip, proto, port, beside=True)
        return not self._core.has_denials() or self._core.decide_address(src_ip, dst_ip, proto, port)

    def sight_ends(self, node_id: int) -> SightEnds:
        """Return until when a node sees those whom it will not see for good."""
        classes, nodes = self._core.sight_ends(node_id)
        return SightEnds(dict(classes), dict(nodes))

    def told_apart(self, node_id: int) -> BitMap:
        """Return the ids of the nodes whose `sight_ends` may name this one apart from its class."""
        return BitMap.deserialize(self._core.told_apart(node_id))

    def packet_filter(self, node_id: int) -> list[dict[str, Any]]:
        """Return what may come in to a node in the original's shape, expanded to addresses."""
        found: list[dict[str, Any]] = msgspec.json.decode(self._core.packet_filter(node_id))
        return found

    def ssh_rules(self, node_id: int) -> list[dict[str, Any]]:
        """Return who may log in to a node, in the original's shape."""
        found: list[dict[str, Any]] = msgspec.json.decode(self._core.ssh_rules(node_id))
        return found

    def capabilities(self, node_id: int) -> dict[str, Any]:
        """Return a node's own capabilities, in the original's shape."""
        found: dict[str, Any] = msgspec.json.decode(self._core.capabilities(node_id))
        return found

    def explain(self, src_id: int, dst_id: int, proto: int, port: int, at: int | None = None) -> Explanation:
        """Say which rules allow or deny a connection, or which one comes nearest, at `at` (or as the engine stands).

        An unknown node is denied without a rule.
        """
        found = self._core.explain(src_id, dst_id, proto, port, self.at if at is None else at)
        return Explanation(False, ()) if found is None else _explained(*found)

    def explain_address(self, src_ip: str, dst_ip: str, proto: int, port: int) -> Explanation:
        """Say the same about two addresses, whether nodes have them or they lie behind routers."""
        return _explained(*self._core.explain_address(src_ip, dst_ip, proto, port, self.at))

    def lint(self) -> tuple[Remark, ...]:
        """Return what is legal in the policy and probably not meant, in order of place."""
        return tuple(Remark(*remark) for remark in self._core.lint())

    def has_rule(self, rule: int) -> bool:
        """Whether the policy has a rule with this id (`Policy.rules`)."""
        return self._core.has_rule(rule)

    def owns_tag(self, user_id: int, tag: str) -> bool:
        """Whether `tagOwners` lets the user give `tag` to a node."""
        return self._core.owns_tag(user_id, tag)

    def tags_allowed(self, user_id: int) -> frozenset[str]:
        """Return every tag the user may give."""
        return frozenset(tag for tag in self._core.tags() if self.owns_tag(user_id, tag))

    def approves(self, node: NodeFacts, route: str) -> bool:
        """Whether `autoApprovers` approve a route that the node advertises."""
        return self._core.approves(node_row(node), route)

    def refresh(self) -> None:
        """Bring the decision cells up to date; the first time builds them all."""
        self.current = True
        anew = self.is_worn
        self.load(*self._core.sync(False, anew))
        if self._core.has_denials():
            self.load_denials(*self._core.sync(True, anew))


def _explained(allowed: bool, rules: Iterable[RuleRow]) -> Explanation:
    matches = (
        RuleMatch(*place, open, tuple(Limit(*limit) for limit in limits), tuple(conditions), tuple(reported))
        for place, open, limits, conditions, reported in rules
    )
    return Explanation(allowed, tuple(matches))
