"""What the structures of all kinds have in common: they never change, and are succeeded by others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

if TYPE_CHECKING:
    from ghostwire.zqlite.index.definition import Kind

Rows = Iterable[tuple[int, Any]]
"""Row ids and the column's values."""

GONE: Final = object()
"""In place of a value: the row is there no more."""

Changes = Mapping[int, Any]
"""What rows hold now, by row id: a value, or `GONE`."""


class Structure(Protocol):
    """An index's content at one moment."""

    kind: ClassVar[Kind]

    @classmethod
    def build(cls, rows: Rows) -> Self:
        """From all rows."""

    def changed(self, changes: Changes) -> Self | None:
        """What takes its place after `changes`; None where building anew costs less."""


class Overlay:
    """Rows that were written since a structure was built: it may not speak for them, what they hold now is here.

    `fresh` has their row ids by key.
    """

    __slots__ = ("fresh", "moved")

    def __init__(self, moved: Changes | None = None, fresh: Mapping[Hashable, tuple[int, ...]] | None = None) -> None:
        self.moved: Changes = moved or {}
        self.fresh: Mapping[Any, tuple[int, ...]] = fresh or {}

    def extended(self, changes: Changes, key: Callable[[Any], Hashable]) -> Overlay:
        """With more changes. `key` gives a value's key, None for a value that is not indexed."""
        moved = {**self.moved, **changes}
        fresh: dict[Hashable, list[int]] = {}
        for rowid, value in moved.items():
            found = None if value is GONE else key(value)
            if found is not None:
                fresh.setdefault(found, []).append(rowid)
        return Overlay(moved, {found: tuple(sorted(rowids)) for found, rowids in fresh.items()})

    def visible(self, rowids: tuple[int, ...]) -> tuple[int, ...]:
        """Those of a structure's row ids that it may still speak for."""
        moved = self.moved
        return tuple(rowid for rowid in rowids if rowid not in moved) if moved else rowids

    def outgrows(self, size: int) -> bool:
        """Whether a structure of so many rows should be built anew.

        Each reader that follows the log pays for the overlay, each rebuilding for all rows: the sum is least where the
        one is about the root of the other.
        """
        return len(self.moved) > 1024 and len(self.moved) ** 2 > 16 * size
