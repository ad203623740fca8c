"""Journal: what has changed since those who follow looked last, as sets of slots rather than as a list of acts."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyroaring import BitMap


@dataclass(slots=True)
class Changed:
    """What changed: the present may show it, or that it is gone.

    `nodes` came, went or have other rows; `parts` are others as peers show them; `rules` may be other filters, `seeing`
    may see other peers; with `moved` anyone may see on other grounds. `users` may have other profiles.
    """

    nodes: BitMap = field(default_factory=BitMap)
    parts: BitMap = field(default_factory=BitMap)
    rules: BitMap = field(default_factory=BitMap)
    seeing: BitMap = field(default_factory=BitMap)
    moved: bool = False
    users: set[int] = field(default_factory=set)


class Journal:
    """Where changes are noted. Nothing is kept while nobody follows."""

    def __init__(self) -> None:
        self.is_followed = False
        self._changed: Changed | None = None

    def take(self) -> Changed | None:
        """Everything since the last call, which is noted no longer; None where that is nothing."""
        changed, self._changed = self._changed, None
        return changed

    def node(self, slot: int) -> None:
        """The node in this slot came, went, or has another row."""
        if self.is_followed:
            self._noted().nodes.add(slot)

    def part(self, slot: int) -> None:
        """Peers are shown another part of this node."""
        if self.is_followed:
            self._noted().parts.add(slot)

    def rules(self, slots: BitMap) -> None:
        """The filters of these nodes may be others."""
        if self.is_followed:
            self._noted().rules |= slots

    def moved(self, slots: BitMap, *, everyone: bool = False) -> None:
        """These nodes may see others, and have other filters; with `everyone` all may see from elsewhere."""
        if self.is_followed:
            changed = self._noted()
            changed.moved |= everyone
            changed.rules |= slots
            changed.seeing |= slots

    def user(self, user: int) -> None:
        """A user may have another profile."""
        if self.is_followed:
            self._noted().users.add(user)

    def _noted(self) -> Changed:
        if self._changed is None:
            self._changed = Changed()
        return self._changed
