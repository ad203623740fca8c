"""Rows as they are handed out: tuples whose columns also have names."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import apsw
import msgspec

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Row(tuple[Any, ...]):
    """A row: `row[0]`, `row["name"]` and unpacking work, and it equals the plain tuple of its values."""

    __slots__ = ()
    _index: ClassVar[dict[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        """The value at a position (or slice), or of the column with that name."""
        if key.__class__ is str:
            try:
                return tuple.__getitem__(self, self._index[key])
            except KeyError:
                raise KeyError(f"no column {key!r}; there are {', '.join(self._index)}") from None
        return tuple.__getitem__(self, key)

    def keys(self) -> tuple[str, ...]:
        """The columns' names, in order; of columns that share a name, the first counts."""
        return tuple(self._index)

    def asdict(self) -> dict[str, Any]:
        """The row as a dict by column name."""
        return {name: tuple.__getitem__(self, at) for name, at in self._index.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (tuple(self._index), tuple(self)))


@lru_cache(maxsize=4096)
def shape(description: tuple[tuple[str, Any], ...]) -> type[Row]:
    """The row class of a result with these columns."""
    index: dict[str, int] = {}
    for at, column in enumerate(description):
        index.setdefault(column[0], at)
    return type("Row", (Row,), {"__slots__": (), "_index": index})


def fetch(cursor: apsw.Cursor) -> list[Row]:
    """All rows of one executed statement."""
    try:
        make = shape(cursor.get_description())
    except apsw.ExecutionCompleteError:  # it returned no row, and its description went with it
        return []
    return list(map(make, cursor.fetchall()))


def into(rows: Iterable[Row], kind: type[Any]) -> list[Any]:
    """The rows as `kind`, a msgspec struct (or anything msgspec converts to) with the columns' names as fields.

    Raises ValidationError where a value does not fit its field.
    """
    try:
        return [msgspec.convert(row.asdict(), kind, strict=False) for row in rows]
    except msgspec.ValidationError as error:
        raise ValidationError(f"a row does not fit {kind.__name__}: {error}") from error


def _restore(names: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    return shape(tuple((name, None) for name in names))(values)
