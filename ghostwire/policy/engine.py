"""Answers of a policy over known users and nodes."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Self

from pyroaring import BitMap

from ghostwire.errors import NotFoundError
from ghostwire.model.filter import FilterRule
from ghostwire.policy import language

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ghostwire.policy.facts import Change, NodeFacts, UserFacts

POOLS = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
_EVERYONE = language.Rule(("*",), (("*", ()),), ())
_OWN = language.Rule(("autogroup:member",), (("autogroup:self", ()),), ())


class Policy:
    """A parsed and checked policy; it knows no users and no nodes."""

    def __init__(self, document: language.Document) -> None:
        self.document = document

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a policy text. ValidationError says line, column and what was expected."""
        return cls(language.read(text))

    @property
    def allows_everything(self) -> bool:
        """Whether the text has neither `acls` nor `grants`, which means: everything is allowed."""
        return self.document.rules is None

    @property
    def rules(self) -> tuple[language.Rule, ...]:
        """The rules in force."""
        return (_EVERYONE,) if self.document.rules is None else self.document.rules


def default_policy() -> Policy:
    """Return what holds without a policy file: each user's own, untagged devices see each other, nothing else."""
    return Policy(language.Document({}, {}, {}, (_OWN,)))


class Engine:
    """A policy bound to users and nodes. Every answer is about the state after the last change handed in."""

    def __init__(self, policy: Policy, users: Iterable[UserFacts], pools: tuple[str, ...] = POOLS) -> None:
        self._policy = policy
        self._pools = pools
        self._users: dict[int, UserFacts] = {user.id: user for user in users}
        self._nodes: dict[int, NodeFacts] = {}
        self._classes: dict[frozenset[str], int] = {}
        self._members: dict[int, int] = {}

    @classmethod
    def build(
        cls,
        policy: Policy,
        users: Iterable[UserFacts],
        nodes: Iterable[NodeFacts],
        pools: tuple[str, ...] = POOLS,
    ) -> Self:
        """Compile a policy over users and nodes; `pools` are what `*` means as a source."""
        engine = cls(policy, users, pools)
        for node in nodes:
            engine._place(node)
        return engine

    # --- changes

    def join(self, node: NodeFacts) -> BitMap:
        """Add a node; the ids of the nodes whose peers or filter change, itself included."""
        return self.update(node)

    def update(self, node: NodeFacts) -> BitMap:
        """Replace what is known of a node; the ids of the nodes whose peers or filter change, itself included."""
        before = self._answers()
        self._place(node)
        return self._changed(before) | BitMap([node.id])

    def leave(self, node_id: int) -> BitMap:
        """Forget a node; the ids of the nodes whose peers or filter change, itself included."""
        before = self._answers()
        self._nodes.pop(node_id, None)
        self._members.pop(node_id, None)
        return self._changed(before) | BitMap([node_id])

    def set_users(self, users: Iterable[UserFacts]) -> BitMap:
        """Replace the users; the ids of the nodes whose peers, class or filter change."""
        before = self._answers()
        self._users = {user.id: user for user in users}
        for node in tuple(self._nodes.values()):
            self._place(node)
        return self._changed(before)

    def affected(self, change: Change) -> BitMap:
        """Return what `change` would touch, without making it."""
        other = Engine(self._policy, self._users.values(), self._pools)
        other._nodes, other._classes, other._members = dict(self._nodes), dict(self._classes), dict(self._members)
        if change.node is not None:
            return other.update(change.node)
        return other.leave(change.leave) if change.leave is not None else BitMap()

    # --- answers

    def class_of(self, node_id: int) -> int:
        """Return the class of a node: equal numbers, equal identity for this policy."""
        if node_id not in self._members:
            raise NotFoundError(f"node {node_id} is not known to the policy")
        return self._members[node_id]

    def visible(self, node_id: int) -> BitMap:
        """Return the peers with which traffic may flow, in either direction."""
        me = self._nodes.get(node_id)
        if me is None:
            return BitMap()
        return BitMap(
            n.id for n in self._nodes.values() if n.id != node_id and (self._sees(me, n) or self._sees(n, me))
        )

    def native_filter(self, node_id: int) -> tuple[FilterRule, ...]:
        """Return what may come in to a node, sources named by class, same owner or prefix."""
        node = self._nodes.get(node_id)
        if node is None:
            return ()
        found = []
        for rule in self._policy.rules:
            for selector, ports in rule.destinations:
                targets = self._targets(selector, node)
                if targets is None:
                    continue
                classes, prefixes = self._sources(rule)
                own = selector == "autogroup:self"
                found.append(
                    FilterRule(
                        classes=() if own else classes,
                        same_owner=own,
                        prefixes=() if own else prefixes,
                        destinations=targets,
                        ports=ports,
                        protocols=rule.protocols,
                    )
                )
        return tuple(found)

    def decide(self, src_id: int, dst_id: int, proto: int, port: int) -> bool:
        """Whether node `src_id` may open `proto` (IP number) to `port` of node `dst_id`."""
        src, dst = self._nodes.get(src_id), self._nodes.get(dst_id)
        if src is None or dst is None:
            return False
        for rule in self._policy.rules:
            if rule.protocols and proto not in rule.protocols:
                continue
            for selector, ports in rule.destinations:
                fits = not ports or any(low <= port <= high for low, high in ports)
                if fits and self._allows(rule, selector, src, dst):
                    return True
        return False

    def owns_tag(self, user_id: int, tag: str) -> bool:
        """Whether `tagOwners` lets the user give `tag` to a node."""
        return any(self._user_is(user_id, owner) for owner in self._policy.document.owners.get(tag, ()))

    def tags_allowed(self, user_id: int) -> frozenset[str]:
        """Return every tag the user may give."""
        return frozenset(tag for tag in self._policy.document.owners if self.owns_tag(user_id, tag))

    # --- parts

    def _place(self, node: NodeFacts) -> None:
        self._nodes[node.id] = node
        names = {s for rule in self._policy.rules for s in (*rule.sources, *(d for d, _ in rule.destinations))}
        key = frozenset(name for name in names if self._identity(name, node))
        self._members[node.id] = self._classes.setdefault(key, len(self._classes) + 1)

    def _user_is(self, user_id: int | None, selector: str) -> bool:
        user = self._users.get(user_id) if user_id is not None else None
        if user is None:
            return False
        if selector == "autogroup:member":
            return True
        if selector.startswith("autogroup:"):
            return selector == f"autogroup:{user.role}"
        if selector.startswith("group:"):
            return any(self._user_is(user_id, name) for name in self._policy.document.groups.get(selector, ()))
        return selector in (user.email, f"{user.name}@") and selector != ""

    def _identity(self, selector: str, node: NodeFacts) -> bool:
        if selector == "*":
            return True
        if selector == "autogroup:tagged":
            return bool(node.tags)
        if selector.startswith("tag:"):
            return selector in node.tags
        return not node.tags and self._user_is(node.user, selector)

    def _prefix(self, selector: str) -> language.Network | None:
        return self._policy.document.hosts.get(selector) or language.network(selector)

    def _is(self, selector: str, node: NodeFacts) -> bool:
        prefix = self._prefix(selector)
        if prefix is not None:
            return any(ipaddress.ip_address(address) in prefix for address in node.addresses)
        return self._identity(selector, node)

    def _allows(self, rule: language.Rule, selector: str, src: NodeFacts, dst: NodeFacts) -> bool:
        if not any(self._is(name, src) for name in rule.sources):
            return False
        if selector == "autogroup:self":
            return src.user is not None and src.user == dst.user and not src.tags and not dst.tags
        return self._is(selector, dst)

    def _sees(self, src: NodeFacts, dst: NodeFacts) -> bool:
        return any(self._allows(rule, name, src, dst) for rule in self._policy.rules for name, _ in rule.destinations)

    def _sources(self, rule: language.Rule) -> tuple[tuple[int, ...], tuple[str, ...]]:
        prefixes = [str(p) for p in (self._prefix(name) for name in rule.sources) if p is not None]
        if "*" in rule.sources:
            return (), (*self._pools, *prefixes)
        chosen = {self._members[n.id] for n in self._nodes.values() if any(self._identity(s, n) for s in rule.sources)}
        return tuple(sorted(chosen)), tuple(prefixes)

    def _targets(self, selector: str, node: NodeFacts) -> tuple[str, ...] | None:
        """Return the destinations of a rule at `node`: () for its own addresses, None when the rule is not its."""
        prefix = self._prefix(selector)
        if prefix is None:
            if selector == "autogroup:self":
                return () if node.user is not None and not node.tags else None
            if selector == "*" and node.routes:
                return (*node.addresses, *node.routes)
            return () if self._identity(selector, node) else None
        own = [a for a in node.addresses if ipaddress.ip_address(a) in prefix]
        served = [str(prefix) for route in node.routes if _overlap(prefix, ipaddress.ip_network(route))]
        return tuple(own + served) or None

    def _answers(self) -> dict[int, object]:
        return {i: (self._members[i], tuple(self.visible(i)), self.native_filter(i)) for i in self._nodes}

    def _changed(self, before: dict[int, object]) -> BitMap:
        after = self._answers()
        changed = {i for i in before.keys() | after.keys() if before.get(i) != after.get(i)}
        for node_id in tuple(changed):
            if node_id in self._nodes and (before.get(node_id) or (0,))[0] != self._members[node_id]:  # type: ignore[index]
                changed |= set(self.visible(node_id))
        return BitMap(changed)


def _overlap(a: language.Network, b: language.Network) -> bool:
    return a.version == b.version and a.overlaps(b)
