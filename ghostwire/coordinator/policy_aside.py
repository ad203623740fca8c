"""A policy beside the one in force: read and tried by another thread, it follows what changes until the exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ghostwire.policy import Engine, Policy


@dataclass(frozen=True, slots=True)
class Built:
    """A text read, and tried.

    `engine` is compiled over everyone; None where the engine in force takes over the few rules that differ. `judge`
    answers for the connections of whoever asks for the policy: `engine`, or one over those at their ends; None where
    there are none. `failure` says which of the policy's own tests fails, if one does. `only_removes` is whether access
    is taken away and none given, as far as that was asked.
    """

    policy: Policy
    engine: Engine | None
    judge: Engine | None
    failure: str | None
    only_removes: bool = False

    def engines(self) -> tuple[Engine, ...]:
        """Those that follow what changes."""
        return tuple({id(engine): engine for engine in (self.engine, self.judge) if engine is not None}.values())


class Aside:
    """One policy that is being built, or stands ready. Changes of nodes and users are noted until it is built."""

    def __init__(self, text: str, bindings: Mapping[str, int]) -> None:
        self._text = text
        self._bindings = dict(bindings)
        self.built: Built | None = None
        self._missed: list[Callable[[Engine], object]] = []

    def is_of(self, text: str, bindings: Mapping[str, int]) -> bool:
        """Whether it is this policy, with these meanings of names."""
        return self._text == text and self._bindings == bindings

    def note(self, change: Callable[[Engine], object]) -> None:
        """Follow a change of the nodes or the users."""
        if self.built is None:
            self._missed.append(change)
            return
        for engine in self.built.engines():
            change(engine)

    def arrive(self, built: Built) -> None:
        """It is built: catch up with what has changed since it was begun."""
        self.built = built
        missed, self._missed = self._missed, []
        for change in missed:
            self.note(change)
