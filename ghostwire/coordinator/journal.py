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
        self._changed = Changed()

    def take(self) -> Changed:
        """Everything since the last call, which is noted no longer."""
        changed, self._changed = self._changed, Changed()
        return changed

    def node(self, slot: int) -> None:
        """The node in this slot came, went, or has another row."""
        if self.is_followed:
            self._changed.nodes.add(slot)

    def part(self, slot: int) -> None:
        """Peers are shown another part of this node."""
        if self.is_followed:
            self._changed.parts.add(slot)

    def rules(self, slots: BitMap) -> None:
        """The filters of these nodes may be others."""
        if self.is_followed:
            self._changed.rules |= slots

    def moved(self, slots: BitMap, *, everyone: bool = False) -> None:
        """These nodes may see others, and have other filters; with `everyone` all may see from elsewhere."""
        if self.is_followed:
            self._changed.moved |= everyone
            self._changed.rules |= slots
            self._changed.seeing |= slots

    def user(self, user: int) -> None:
        """A user may have another profile."""
        if self.is_followed:
            self._changed.users.add(user)
