"""A hash table: the rows that hold a value, in one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from ghostwire.zqlite.index.definition import Kind
from ghostwire.zqlite.index.structure import Changes, Overlay, Rows


class HashTable:
    """Values are equal as in SQL without a collation: 1 and 1.0 are; 'a', 'A' and x'61' are not. NULL equals none."""

    kind: ClassVar = Kind.HASH
    __slots__ = ("_base", "_overlay")

    def __init__(self, base: Mapping[Any, int | tuple[int, ...]], overlay: Overlay) -> None:
        self._base = base
        self._overlay = overlay

    @classmethod
    def build(cls, rows: Rows) -> Self:
        """From all rows."""
        base: dict[Any, int | tuple[int, ...]] = {}
        for rowid, value in rows:
            if value is None:
                continue
            there = base.setdefault(value, rowid)
            if there is not rowid:
                base[value] = (*there, rowid) if isinstance(there, tuple) else (there, rowid)
        return cls(base, Overlay())

    def changed(self, changes: Changes) -> Self | None:
        """What takes its place after `changes`."""
        overlay = self._overlay.extended(changes, lambda value: value)
        return None if overlay.outgrows(len(self._base)) else type(self)(self._base, overlay)

    def first(self, value: Any) -> int | None:
        """The least row id that holds `value`."""
        there = self._base.get(value)
        if not self._overlay.moved and not isinstance(there, tuple):
            return there
        return min(self.rows(value), default=None)

    def rows(self, value: Any) -> tuple[int, ...]:
        """Every row id that holds `value`, in order."""
        there = self._base.get(value)
        rowids = () if there is None else there if isinstance(there, tuple) else (there,)
        return tuple(sorted((*self._overlay.visible(rowids), *self._overlay.fresh.get(value, ()))))
