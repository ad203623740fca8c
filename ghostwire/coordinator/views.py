"""Who sees whom: the policy's engine over the nodes that are present, and the numbers under which classes are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
from pyroaring import BitMap

from ghostwire.coordinator.access_standing import grants
from ghostwire.coordinator.census import Census, policy_facts, served_routes, user_facts
from ghostwire.coordinator.class_numbers import ClassNumbers
from ghostwire.coordinator.decision import Unbuilt
from ghostwire.coordinator.journal import Journal
from ghostwire.coordinator.outlook import Outlook, Sights
from ghostwire.coordinator.policy_aside import Aside, Built, Change
from ghostwire.coordinator.policy_successor import Standing
from ghostwire.coordinator.state import State
from ghostwire.model.node import Node
from ghostwire.model.user import User
from ghostwire.policy import Engine, Policy, default_policy

BINDINGS: Final = "policy_bindings"
"""The setting that keeps which user each name of the policy in force means."""
POLICY_TIME: Final = "policy_time"
"""The setting that keeps when windows of the policy last opened or closed, UTC nanoseconds, big-endian."""
_bindings = msgspec.msgpack.Decoder(tuple[int, dict[str, int]])


def policy_in_force(state: State) -> Policy:
    """The newest applied policy, else the default one."""
    return policy_of(text_in_force(state))


def text_in_force(state: State) -> str:
    """The text of the newest applied policy, empty for the default one."""
    return "" if state.policy is None else state.policy.text


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


def bindings_value(number: int, bindings: Mapping[str, int]) -> bytes:
    """What the setting keeps, with the number of the policy that it is for."""
    return msgspec.msgpack.encode((number, dict(sorted(bindings.items()))))


def _is_called(user: User | None, name: str) -> bool:
    return user is not None and name in (user.name, f"{user.name}@", user.email)


class Foreseen(NamedTuple):
    """Whose maps an exchange of the policy changes, and of whom that is not known."""

    affected: BitMap
    unsure: BitMap


class Views:
    """The engine and its numbers. Nodes are named by slot."""

    def __init__(self, state: State, pools: tuple[str, ...]) -> None:
        self._state = state
        self._pools = pools
        self.journal = Journal()
        self.slots = BitMap(node.slot for node in state.nodes.values() if not node.expired)
        self._routers = BitMap(slot for slot in self.slots if served_routes(state.node_by_slot[slot]))
        self._engine = self._build()
        self._number(ClassNumbers(1))
        self._aside: Aside | None = None
        self.bound = 0
        """Moves whenever names of the policy may have come to mean users."""
        self._bindings: tuple[int, dict[str, int]] = (-1, {})
        self.version = 0
        """Moves with every change that may have changed a filter, or a class, of a node other than the one changed."""
        self.sight = 0
        """Moves whenever anyone may have ceased to see someone: nodes that come take nobody from view."""

    def adopt(self, known: Mapping[int, int], first: int) -> bool:
        """Keep the class numbers that nodes were known by (by slot); whether every class could keep its own."""
        engine_class = {slot: self._engine.class_of(slot) for slot in self.slots}
        self._number(ClassNumbers.carry(first, engine_class, known))
        return self.numbers.all() == {slot: known.get(slot) for slot in self.slots}

    def _number(self, numbers: ClassNumbers) -> None:
        self.numbers = numbers
        self.outlook = Outlook(self._engine, numbers, self._state.node_by_slot, self._routers)
        """What nodes see and let in now."""

    def rebind(self) -> Foreseen:
        """Exchange the policy for the one in force now; classes keep the numbers that they can. Whose maps are others.

        It is compiled here and now unless it was built aside, and its names mean the users that they would mean now.
        """
        ready = self._ready()
        successor = None if ready is None else ready.successor
        if successor is None or not self._names_hold(successor.engine):
            # What was built aside, if anything, was this policy: nobody asks for its numbers any more.
            foreseen = Foreseen(BitMap(), BitMap(self.slots))
            known = self.numbers.all()
            self._engine = self._build()
            self.adopt(known, self.numbers.next)
        else:
            late = successor.come_to(self.at, grants(self._state, successor.engine, self.at))
            foreseen = Foreseen(successor.affected, self._unsure() | late)
            self._engine = successor.engine
            self._number(successor.numbers)
        self._engine.take_moved()
        self.bound += 1
        self.version += 1
        self.sight += 1
        return foreseen

    def _build(self) -> Engine:
        """The policy in force over the nodes that are present, as of the log's time, with the access that stands."""
        state = self._state
        people = user_facts(state.users.values())
        present = (policy_facts(state.node_by_slot[slot]) for slot in self.slots)
        engine = Engine.build(policy_in_force(state), people, present, self._pools, bindings_of(state), at=self.at)
        engine.set_access(grants(state, engine, self.at))
        return engine

    # A policy that is built aside.

    def begin_aside(self, wanted: Unbuilt) -> Standing:
        """A policy is being built over the `census` as it is now: from here on it follows what changes.

        The policy in force is for who builds it.
        """
        count = len(self.slots)
        first = self.numbers.set_aside(count)
        self._aside = Aside(wanted, (first, count))
        return Standing(
            text=text_in_force(self._state),
            bindings=self.bindings,
            at=self._engine.at,
            access=tuple(grants(self._state, self._engine, self._engine.at)),
            known=self.numbers.copied(),
            first=first,
            engine=self._engine,
            names_hold=self._means(self._engine, wanted.bindings),
        )

    def aside(self, wanted: Unbuilt) -> Built | None:
        """What was built aside, if that is what it was built for."""
        return self._aside.built if self._aside is not None and self._aside.wanted == wanted else None

    def aside_built(self, built: Built) -> None:
        """What was begun is built, and catches up."""
        if self._aside is not None:
            first, count = self._aside.numbers
            if built.successor is None:
                self.numbers.take_back(first, count, 0)
            else:
                self.numbers.take_back(first, count, built.successor.numbers.next - first)
                built.successor.numbers.give_like(self.numbers)
            self._aside.arrive(built)

    def judge(self, built: Built, utc: int) -> Engine | None:
        """Who judges connections under a policy that was built aside, as of a time."""
        if built.judge is not None:
            access = grants(self._state, built.judge, utc)
            if built.successor is not None:
                self._doubt(built.successor.come_to(utc, access))
            else:
                built.judge.turn(utc)
                built.judge.set_access(access)
        return built.judge

    def end_aside(self) -> None:
        """What was built aside is in force, or not wanted any more."""
        if self._aside is not None and self._aside.built is None:
            self.numbers.take_back(*self._aside.numbers, 0)
        self._aside = None

    def _ready(self) -> Built | None:
        """The policy in force, if it was built aside."""
        aside, text, bindings = self._aside, text_in_force(self._state), bindings_of(self._state)
        return aside.built if aside is not None and aside.is_of(text, bindings) else None

    def _note(self, change: Change) -> None:
        if self._aside is not None:
            self._aside.note(change)

    def _doubt(self, slots: BitMap) -> None:
        """What is found out of these nodes' maps, by who prepares another policy, may not hold."""
        if self._aside is not None:
            self._aside.unsure |= slots

    def _unsure(self) -> BitMap:
        return BitMap() if self._aside is None else self._aside.unsure

    # Windows.

    @property
    def at(self) -> int:
        """The time as of which the policy holds, UTC nanoseconds."""
        return policy_time(self._state)

    def next_turn(self, after: int | None = None) -> int:
        """When the next window opens or closes (after a time), UTC nanoseconds; 0 for never."""
        return self._engine.next_turn(self.at if after is None else after)

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
        self.sight += old is not None
        apart = self._engine.told_apart(new.slot)
        affected = self._engine.update(facts)
        apart |= self._engine.told_apart(new.slot)
        self._note(lambda engine: engine.update(facts))
        self.slots.add(new.slot)
        if facts.routes:
            self._routers.add(new.slot)
        else:
            self._routers.discard(new.slot)
        renumbered = self.numbers.place(new.slot, self._engine.class_of(new.slot))
        routes = () if old is None else served_routes(old)
        self._doubt(affected | apart | BitMap([new.slot]))
        if renumbered or facts.routes != routes or self.outlook.tells_apart:
            apart |= affected
        return self._retold(apart, new.slot)

    def remove(self, old: Node) -> BitMap:
        """Forget a node: whose filter may be another now, itself left out."""
        self.sight += 1
        apart = self._engine.told_apart(old.slot)
        affected = self._engine.leave(old.slot)
        self._note(lambda engine: engine.leave(old.slot))
        self.slots.discard(old.slot)
        self._routers.discard(old.slot)
        self._doubt(affected | apart)
        if self.numbers.leave(old.slot) or served_routes(old) or self.outlook.tells_apart:
            apart |= affected
        return self._retold(apart, old.slot)

    def _retold(self, affected: BitMap, slot: int) -> BitMap:
        """Whose filters may be others, but for the node itself that changed."""
        others = affected - BitMap([slot])
        if affected:
            self.version += 1
            self.outlook.look_again()
            self.journal.rules(others)
        return others

    def set_users(self) -> BitMap:
        """Follow a change of the users: whose peers, filter or class may be another."""
        people = user_facts(self._state.users.values())
        self._note(lambda engine: engine.set_users(people))
        return self._moving_classes(lambda: self._engine.set_users(people))

    def edited(self) -> Policy | None:
        """The policy in force, where few of its rules alone have changed and its names mean the same users: `edit`.

        Else `rebind`.
        """
        if not self._names_hold(self._engine):
            return None
        ready = self._ready()
        policy = policy_in_force(self._state) if ready is None else ready.policy
        return policy if self._engine.can_edit(policy) else None

    def concerned(self, policy: Policy) -> BitMap:
        """Whom `edit` may concern: everyone else sees the same peers after it."""
        if 0 < self.next_turn(self._engine.at) <= self.at:
            return BitMap(self.slots)
        return self._engine.concerned(policy) & self.slots

    def edit(self, policy: Policy) -> BitMap:
        """Follow a change of the policy's rules: whose peers, filter or class may be another."""
        affected = self._moving_classes(lambda: self._engine.edit(policy) or BitMap())
        return affected | self.turn()

    def census(self, at: int) -> Census:
        """Whom a policy would be about at this time: the users and nodes there are."""
        return Census(tuple(self._state.users.values()), tuple(self._state.nodes.values()), self._pools, at)

    @property
    def engine(self) -> Engine:
        """The policy in force, for questions only."""
        return self._engine

    def _names_hold(self, engine: Engine) -> bool:
        """Whether the names that are bound in an engine mean what they do in the policy in force."""
        return self._means(engine, bindings_of(self._state))

    def _means(self, engine: Engine, bindings: Mapping[str, int]) -> bool:
        """Whether the names that are bound are bound to these users, or without any as by a fresh look."""
        bound = self.bindings if engine is self._engine else engine.bindings
        if bindings:
            return bindings == bound
        return all(_is_called(self._state.users.get(user), name) for name, user in bound.items())

    def _moving_classes(self, change: Callable[[], BitMap]) -> BitMap:
        """Make a change to the engine that may move any node to another class, and count the members anew."""
        told_owners = self._engine.tells_owners
        affected = change()
        self.bound += 1
        self.sight += 1
        if not affected and self._engine.tells_owners == told_owners:
            return affected
        self.version += 1
        self.outlook.look_again(rules=True)
        for slot in self._engine.take_moved() & self.slots:
            now = self._engine.class_of(slot)
            if self.numbers.engine_class(slot) != now:
                affected.add(slot)
                if self.numbers.place(slot, now):
                    self._doubt(self._engine.visible(slot))
        self._doubt(affected)
        self.journal.moved(affected, everyone=self._engine.tells_owners != told_owners)
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
    def bindings(self) -> Mapping[str, int]:
        """Which user each name of the policy means, as far as names have matched."""
        if self._bindings[0] != self.bound:
            self._bindings = (self.bound, self._engine.bindings)
        return self._bindings[1]
