"""Who sees whom: the policy's engine over the nodes that are present, and the numbers under which classes are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.access_standing import grants
from ghostwire.coordinator.class_numbers import ClassNumbers
from ghostwire.coordinator.journal import Journal
from ghostwire.coordinator.outlook import Outlook, Sights
from ghostwire.coordinator.policy_aside import Aside, Built
from ghostwire.coordinator.state import State
from ghostwire.model.node import Node
from ghostwire.model.user import User
from ghostwire.policy import Engine, NodeFacts, Policy, UserFacts, default_policy

BINDINGS: Final = "policy_bindings"
"""The setting that keeps which user each name of the policy in force means."""
POLICY_TIME: Final = "policy_time"
"""The setting that keeps when windows of the policy last opened or closed, UTC nanoseconds, big-endian."""
_bindings = msgspec.msgpack.Decoder(tuple[int, dict[str, int]])


def served_routes(node: Node) -> tuple[str, ...]:
    """The prefixes that a node offers and may serve."""
    return tuple(route for route in node.approved_routes if route in node.routable_routes)


def policy_facts(node: Node) -> NodeFacts:
    """What the policy is told of a node."""
    return NodeFacts(
        id=node.slot,
        user=node.user_id,
        tags=node.tags,
        addresses=(node.ipv4, node.ipv6),
        routes=served_routes(node),
        os=node.os,
        version=node.agent_version,
        country=node.country,
        region=node.region,
    )


def user_facts(users: Iterable[User]) -> list[UserFacts]:
    """What the policy is told of users."""
    return [UserFacts(id=user.id, name=user.name, email=user.email, role=user.role) for user in users]


def policy_in_force(state: State) -> Policy:
    """The newest applied policy, else the default one."""
    return policy_of("" if state.policy is None else state.policy.text)


def policy_of(text: str) -> Policy:
    """The policy of a kept text; an empty one is the default policy."""
    return Policy.parse(text) if text else default_policy()


def policy_time(state: State) -> int:
    """The time as of which the policy holds: when windows last turned or a version was applied, UTC nanoseconds."""
    kept = state.settings.get(POLICY_TIME)
    turned = 0 if kept is None else int.from_bytes(kept.value, "big")
    return max(turned, 0 if state.policy is None else state.policy.at)


def bindings_of(state: State) -> dict[str, int]:
    """Which user each name of the policy in force is known to mean: a name means no other user later."""
    kept = state.settings.get(BINDINGS)
    if kept is None or state.policy is None:
        return {}
    return bindings_of_version(kept.value, state.policy.number)


def bindings_of_version(kept: bytes, number: int) -> dict[str, int]:
    """What was kept for this policy; nothing where it was kept for another."""
    kept_for, bindings = _bindings.decode(kept)
    return bindings if kept_for == number else {}


def bindings_value(number: int, bindings: dict[str, int]) -> bytes:
    """What the setting keeps, with the number of the policy that it is for."""
    return msgspec.msgpack.encode((number, dict(sorted(bindings.items()))))


def _is_called(user: User | None, name: str) -> bool:
    return user is not None and name in (user.name, f"{user.name}@", user.email)


def _looks_at_each(state: State) -> bool:
    """Whether filters may change with any node: the policy's text would have to name postures, conditions or denials.

    What these name goes beyond classes: what nodes report, or all the addresses of one.
    """
    text = "" if state.policy is None else state.policy.text.lower()
    return "posture" in text or ("ghostwire" in text and ("condition" in text or "deny" in text))


@dataclass(frozen=True, slots=True)
class Directory:
    """Users and nodes as they stood at one moment: what policies can be tried on, also by another thread.

    `at` is that moment, UTC nanoseconds.
    """

    users: tuple[UserFacts, ...]
    nodes: tuple[NodeFacts, ...]
    pools: tuple[str, ...]
    at: int = 0

    def build(self, policy: Policy, bindings: Mapping[str, int] | None = None) -> Engine:
        """The policy over them; names mean who is called so now, unless `bindings` say whom they mean."""
        return Engine.build(policy, self.users, self.nodes, self.pools, bindings, at=self.at)


class Views:
    """The engine and its numbers. Nodes are named by slot."""

    def __init__(self, state: State, pools: tuple[str, ...]) -> None:
        self._state = state
        self._pools = pools
        self.journal = Journal()
        self.slots = BitMap(node.slot for node in state.nodes.values() if not node.expired)
        self._engine = self._build()
        self._number(ClassNumbers(1))
        self._looks_at_each = _looks_at_each(state)
        self._aside: Aside | None = None
        self.bound = 0
        """Moves whenever names of the policy may have come to mean users."""
        self.version = 0
        """Moves with every change that may have changed a filter, or a class, of a node other than the one changed."""

    def adopt(self, known: Mapping[int, int], first: int) -> bool:
        """Keep the class numbers that nodes were known by (by slot); whether every class could keep its own."""
        engine_class = {slot: self._engine.class_of(slot) for slot in self.slots}
        self._number(ClassNumbers.carry(first, engine_class, known))
        return self.numbers.all() == {slot: known.get(slot) for slot in self.slots}

    def _number(self, numbers: ClassNumbers) -> None:
        self.numbers = numbers
        self.outlook = Outlook(self._engine, numbers, self._state.node_by_slot)
        """What nodes see and let in now."""

    def rebind(self) -> None:
        """Compile the policy in force anew, over the nodes that are present; classes keep the numbers that they can."""
        known = self.numbers.all()
        ready = self._ready()
        if ready is None:
            self._engine = self._build()
        else:
            self._engine = ready.engine
            self._engine.turn(self.at)
            self._grant()
        self._looks_at_each = _looks_at_each(self._state)
        self.bound += 1
        self.version += 1
        self.adopt(known, self.numbers.next)
        self.journal.moved(self.slots)

    def _build(self) -> Engine:
        """The policy in force over the nodes that are present, as of the log's time, with the access that stands."""
        state = self._state
        people = user_facts(state.users.values())
        present = (policy_facts(state.node_by_slot[slot]) for slot in self.slots)
        engine = Engine.build(policy_in_force(state), people, present, self._pools, bindings_of(state), at=self.at)
        engine.set_access(grants(state, engine, self.at))
        return engine

    # A policy that is built aside.

    def begin_aside(self, text: str, bindings: Mapping[str, int]) -> None:
        """A policy is being built over `directory()` as it is now: from here on it follows what changes."""
        self._aside = Aside(text, bindings)

    def aside(self, text: str, bindings: Mapping[str, int]) -> Built | None:
        """A policy that was built aside, if it is this one."""
        aside = self._aside
        return aside.built if aside is not None and aside.is_of(text, bindings) else None

    def aside_built(self, built: Built) -> None:
        """What was begun is built, and catches up."""
        if self._aside is not None:
            self._aside.arrive(built)

    def end_aside(self) -> None:
        """What was built aside is in force, or not wanted any more."""
        self._aside = None

    def _ready(self) -> Built | None:
        """The policy in force, if it was built aside and its names mean the users that they would mean now."""
        if self._aside is None or self._aside.is_late:
            return None
        return self.aside("" if self._state.policy is None else self._state.policy.text, bindings_of(self._state))

    def _note(self, change: Callable[[Engine], object]) -> None:
        if self._aside is not None:
            self._aside.note(change)

    # Windows.

    @property
    def at(self) -> int:
        """The time as of which the policy holds, UTC nanoseconds."""
        return policy_time(self._state)

    def next_turn(self) -> int:
        """When the next window opens or closes, UTC nanoseconds; 0 for never."""
        return self._engine.next_turn(self.at)

    def turn(self) -> BitMap:
        """Follow the time as of which the policy holds: whose peers, filter or class may be another."""
        return self._moving_classes(lambda: self._engine.turn(self.at) | self._grant())

    def follow_access(self) -> BitMap:
        """Follow what access stands: whose peers, filter or class may be another."""
        return self._moving_classes(self._grant)

    def _grant(self) -> BitMap:
        return self._engine.set_access(grants(self._state, self._engine, self.at))

    # Changes.

    def place(self, old: Node | None, new: Node) -> BitMap:
        """Add or move a node: whose filter may be another now, itself left out."""
        facts = policy_facts(new)
        before = None if old is None else self._engine.class_of(new.slot)
        apart = self._engine.told_apart(new.slot)
        affected = self._engine.update(facts)
        apart |= self._engine.told_apart(new.slot)
        self._note(lambda engine: engine.update(facts))
        self.slots.add(new.slot)
        after = self._engine.class_of(new.slot)
        renumbered = False
        if before != after:
            renumbered = before is not None and self.numbers.leave(new.slot, before)
            renumbered |= self.numbers.enter(new.slot, after)
        routes = () if old is None else served_routes(old)
        if renumbered or facts.routes != routes or self._looks_at_each:
            apart |= affected
        return self._retold(apart, new.slot)

    def remove(self, old: Node) -> BitMap:
        """Forget a node: whose filter may be another now, itself left out."""
        before = self._engine.class_of(old.slot)
        apart = self._engine.told_apart(old.slot)
        affected = self._engine.leave(old.slot)
        self._note(lambda engine: engine.leave(old.slot))
        self.slots.discard(old.slot)
        if self.numbers.leave(old.slot, before) or served_routes(old) or self._looks_at_each:
            apart |= affected
        return self._retold(apart, old.slot)

    def _retold(self, affected: BitMap, slot: int) -> BitMap:
        """Whose filters may be others, but for the node itself that changed."""
        others = affected - BitMap([slot])
        if affected:
            self.version += 1
            self.journal.rules(others)
        return others

    def set_users(self) -> BitMap:
        """Follow a change of the users: whose peers, filter or class may be another."""
        self._outdate_aside()
        return self._moving_classes(lambda: self._engine.set_users(user_facts(self._state.users.values())))

    def know_users(self) -> bool:
        """Follow the coming or going of a user without nodes; whether no map can be another, as it should be."""
        self.bound += 1
        self._outdate_aside()
        return not self._engine.set_users(user_facts(self._state.users.values()))

    def _outdate_aside(self) -> None:
        if self._aside is not None:
            self._aside.is_late = True

    def edited(self) -> Policy | None:
        """The policy in force, where few of its rules alone have changed and its names mean the same users: `edit`.

        Else `rebind`.
        """
        if not self._names_hold():
            return None
        ready = self._ready()
        policy = policy_in_force(self._state) if ready is None else ready.policy
        return policy if self._engine.can_edit(policy) else None

    def edit(self, policy: Policy) -> BitMap:
        """Follow a change of the policy's rules: whose peers, filter or class may be another."""
        affected = self._moving_classes(lambda: self._engine.edit(policy) or BitMap())
        self._looks_at_each = _looks_at_each(self._state)
        return affected | self.turn()

    def directory(self, at: int) -> Directory:
        """Whom a policy would be about at this time: the users, and the nodes that are present."""
        present = tuple(policy_facts(self._state.node_by_slot[slot]) for slot in self.slots)
        return Directory(tuple(user_facts(self._state.users.values())), present, self._pools, at)

    @property
    def engine(self) -> Engine:
        """The policy in force, for questions only."""
        return self._engine

    def _names_hold(self) -> bool:
        """Whether the names that are bound would be bound to the same users by a fresh look."""
        kept = bindings_of(self._state)
        if kept:
            return kept == self._engine.bindings
        return all(_is_called(self._state.users.get(user), name) for name, user in self._engine.bindings.items())

    def _moving_classes(self, change: Callable[[], BitMap]) -> BitMap:
        """Make a change to the engine that may move any node to another class, and count the members anew."""
        before = {slot: self._engine.class_of(slot) for slot in self.slots}
        affected = change()
        self.bound += 1
        self.version += 1
        for slot, was in before.items():
            now = self._engine.class_of(slot)
            if now != was:
                affected.add(slot)
                self.numbers.leave(slot, was)
                self.numbers.enter(slot, now)
        self.journal.moved(affected)
        return affected

    def visible(self, slot: int) -> BitMap:
        """The peers of a node; symmetric."""
        return self._engine.visible(slot)

    def class_of(self, slot: int) -> int:
        """The number of a node's class, 0 for one that is not present."""
        return self.numbers.number(slot)

    def sights(self, slots: Iterable[int]) -> Sights:
        """Whom these nodes see now."""
        return Sights(self._engine, slots)

    @property
    def bindings(self) -> dict[str, int]:
        """Which user each name of the policy means, as far as names have matched."""
        return self._engine.bindings

    def decide(self, source: int, destination: int, protocol: int, port: int) -> bool:
        """Whether one node may open `protocol` to `port` of another."""
        return self._engine.decide(source, destination, protocol, port)
