"""An engine that is to take the place of the one in force, and whose maps are others then: found on a thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from ghostwire.coordinator.census import Directory
from ghostwire.coordinator.class_numbers import ClassNumbers, by_slot
from ghostwire.policy import AccessGrant, Engine, NodeFacts, Policy, UserFacts


@dataclass(frozen=True, slots=True)
class Standing:
    """The policy in force as it stands when another is begun: text, meanings of names, time, access beside it.

    Classes are `known` by these numbers, by slot (0 for nobody); `first` is the first of those, as many as there are
    nodes, that are set aside for classes which need others. `engine` is in use: it is only asked what another thread
    may ask it, and can take over edited rules where `names_hold`, which says that names are to mean the same.
    """

    text: str
    bindings: Mapping[str, int]
    at: int
    access: tuple[AccessGrant, ...]
    known: NDArray[np.uint32]
    first: int
    engine: Engine
    names_hold: bool

    def compiled(self, policy: Policy, directory: Directory) -> Engine:
        """Another engine for it, over the nodes of a directory."""
        engine = dataclasses.replace(directory, at=self.at).build(policy, self.bindings)
        engine.set_access(self.access)
        return engine


class Successor:
    """The engine, and the numbers that maps are to know its classes by. It follows what changes until its time comes.

    `affected` are those whose maps the exchange changes, by all that was known when it was begun. What happens after
    that says itself, under this policy and under the one in force, of whom that may no longer hold.
    """

    def __init__(self, engine: Engine, numbers: ClassNumbers, affected: BitMap) -> None:
        self.engine = engine
        self.numbers = numbers
        self.affected = affected

    @classmethod
    def of(cls, engine: Engine, before: Engine, standing: Standing) -> Successor:
        """Find out whose maps change when the policy `before` gives way. Both are over the same nodes."""
        classes = {slot: engine.class_of(slot) for slot, _ in engine.standpoints()}
        known = by_slot(standing.known)
        numbers = ClassNumbers.carry(standing.first, classes, known)
        return cls(engine, numbers, engine.exchanged(before, known, numbers.all()))

    def update(self, facts: NodeFacts) -> BitMap:
        """Follow a node that comes or changes: of whom nothing that was found holds any more."""
        apart = self.engine.told_apart(facts.id)
        return self._renumber(apart | self.engine.update(facts) | self.engine.told_apart(facts.id) | BitMap([facts.id]))

    def leave(self, slot: int) -> BitMap:
        """Follow a node that goes: of whom nothing that was found holds any more."""
        apart = self.engine.told_apart(slot) | self.engine.leave(slot)
        if self.numbers.number(slot):
            self.numbers.leave(slot)
        return apart

    def set_users(self, users: Iterable[UserFacts]) -> BitMap:
        """Follow a change of the users: of whom nothing that was found holds any more."""
        return self._renumber(self.engine.set_users(users))

    def come_to(self, utc: int, access: Iterable[AccessGrant]) -> BitMap:
        """Come to the time of the exchange, with the access that stands then: for whom that makes a difference."""
        return self._renumber(self.engine.turn(utc) | self.engine.set_access(access))

    def _renumber(self, affected: BitMap) -> BitMap:
        """Number the classes that nodes have moved to: a number that comes or goes is news to who sees them."""
        for slot in (moved := self.engine.take_moved()):
            if self.numbers.place(slot, self.engine.class_of(slot)):
                affected |= self.engine.visible(slot)
        return affected | moved
