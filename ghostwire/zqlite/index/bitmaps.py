"""Roaring bitmaps: for each value of a column the set of its rows, for AND, OR and counts without reading a row.

Chambi, Lemire, Kaser, Godin: Better bitmap performance with Roaring bitmaps, 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

from pyroaring import BitMap64

from ghostwire.errors import ValidationError
from ghostwire.zqlite.index.definition import Kind
from ghostwire.zqlite.index.structure import GONE, Changes, Rows

_WRAP: Final = 1 << 64
_MASK: Final = _WRAP - 1
_NEGATIVE: Final = 1 << 63


class Bitmaps:
    """Values are equal as in SQL without a collation; NULL is a value here."""

    kind: ClassVar = Kind.BITMAP
    __slots__ = ("_sets",)

    def __init__(self, sets: Mapping[Any, BitMap64]) -> None:
        self._sets = sets

    @classmethod
    def build(cls, rows: Rows) -> Self:
        """From all rows."""
        found: dict[Any, list[int]] = {}
        for rowid, value in rows:
            found.setdefault(value, []).append(rowid & _MASK)
        return cls({value: BitMap64(rowids) for value, rowids in found.items()})

    def changed(self, changes: Changes) -> Self | None:
        """What takes its place after `changes`: only the sets they touch are copied."""
        sets: dict[Any, BitMap64] = dict(self._sets)
        own: set[Any] = set()

        def writable(value: Any) -> BitMap64:
            if value not in own:
                own.add(value)
                sets[value] = BitMap64(sets.get(value, ()))
            return sets[value]

        for rowid, value in changes.items():
            number = rowid & _MASK
            for was, rowids in list(sets.items()):
                if number in rowids:
                    writable(was).discard(number)
                    break
            if value is not GONE:
                writable(value).add(number)
        for value in own:
            if not sets[value]:
                del sets[value]
        return type(self)(sets)

    def rows(self, *values: Any) -> BitMap64:
        """The rows that hold any of `values`; all rows when there is none. Not to be changed."""
        if len(values) == 1:
            return self._sets.get(values[0], BitMap64())
        return BitMap64().union(*(self._sets.get(value, BitMap64()) for value in values or self._sets))


def rowids(found: Any) -> list[int]:
    """The row ids in a set: those below zero, which SQLite allows, come last."""
    return [number - _WRAP if number >= _NEGATIVE else number for number in checked(found)]


def combined(operation: str, sets: tuple[Any, ...]) -> BitMap64:
    """The `intersection`, `union` or `difference` of sets. Raises ValidationError for what is none."""
    if not sets:
        raise ValidationError("this combines one set of rows or more")
    first, *others = map(checked, sets)
    found: BitMap64 = getattr(first, operation)(*others)
    return found


def checked(value: Any) -> BitMap64:
    """The set that SQL hands over. Raises ValidationError for anything else."""
    if not isinstance(value, BitMap64):
        raise ValidationError("a set of rows comes from bitmap(index, value), bitmap_and, bitmap_or or bitmap_andnot")
    return value
