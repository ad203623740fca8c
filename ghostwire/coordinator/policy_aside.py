"""A policy beside the one in force: read and tried by another thread, it follows what changes until the exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyroaring import BitMap

from ghostwire.coordinator.decision import Unbuilt
from ghostwire.coordinator.policy_successor import Successor
from ghostwire.policy import Engine, Policy

Change = Callable[["Engine | Successor"], BitMap]
"""A change of the nodes or the users, made to an engine: whom it concerns."""


@dataclass(frozen=True, slots=True)
class Built:
    """A text read, and tried.

    `successor` is compiled over everyone; None where the engine in force takes over the few rules that differ. `judge`
    answers for the connections of whoever asks for the policy: an engine over everyone, or over those at their ends;
    None where there are none. `failure` says which of the policy's own tests fails, if one does. `only_removes` is
    whether access is taken away and none given, as far as that was asked.
    """

    policy: Policy
    successor: Successor | None
    judge: Engine | None
    failure: str | None
    only_removes: bool = False

    def follow(self, change: Change) -> BitMap:
        """Make a change to whatever is there; whom it concerns."""
        if self.successor is not None:
            return change(self.successor)
        return BitMap() if self.judge is None else change(self.judge)


class Aside:
    """One policy that is being built, or stands ready. Changes of nodes and users are noted until it is built."""

    def __init__(self, wanted: Unbuilt, numbers: tuple[int, int]) -> None:
        self.wanted = wanted
        """What it is built for: nothing else was found out of it."""
        self.numbers = numbers
        """The first of the numbers that are set aside for its classes, and how many they are."""
        self.built: Built | None = None
        self.unsure = BitMap()
        """Whose maps may have changed since it was begun, under either policy."""
        self._missed: list[Change] = []

    def is_of(self, text: str, bindings: Mapping[str, int]) -> bool:
        """Whether it is this policy, with these meanings of names."""
        return self.wanted.text == text and self.wanted.bindings == bindings

    def note(self, change: Change) -> None:
        """Follow a change of the nodes or the users."""
        if self.built is None:
            self._missed.append(change)
        else:
            self.unsure |= self.built.follow(change)

    def arrive(self, built: Built) -> None:
        """It is built: catch up with what has changed since it was begun."""
        self.built = built
        missed, self._missed = self._missed, []
        for change in missed:
            self.note(change)
