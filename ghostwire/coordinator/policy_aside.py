"""A policy beside the one in force: built by another thread, it follows the nodes until it is exchanged in one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ghostwire.policy import Engine, Policy


@dataclass(frozen=True, slots=True)
class Built:
    """A text read and compiled. `failure` says which of the policy's own tests fails, if one does."""

    policy: Policy
    engine: Engine
    failure: str | None


class Aside:
    """One policy that is being built, or stands ready. Changes of nodes are noted until there is an engine for them."""

    def __init__(self, text: str, bindings: Mapping[str, int]) -> None:
        self._text = text
        self._bindings = dict(bindings)
        self.built: Built | None = None
        self.is_late = False
        """The users have changed since: names might be bound to others now, so it may not come into force."""
        self._missed: list[Callable[[Engine], object]] = []

    def is_of(self, text: str, bindings: Mapping[str, int]) -> bool:
        """Whether it is this policy, with these meanings of names."""
        return self._text == text and self._bindings == bindings

    def note(self, change: Callable[[Engine], object]) -> None:
        """Follow a change of the nodes."""
        if self.built is None:
            self._missed.append(change)
        else:
            change(self.built.engine)

    def arrive(self, built: Built) -> None:
        """It is built: catch up with what has changed since it was begun."""
        for change in self._missed:
            change(built.engine)
        self._missed.clear()
        self.built = built
