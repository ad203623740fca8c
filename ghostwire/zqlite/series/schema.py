"""What a series holds: samples, each of a key at a time, with one value for each column."""

from __future__ import annotations

import re
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["integer", "real", "text"]

FIRST: Final = -(1 << 63)
END: Final = (1 << 63) - 1
"""The ends of time, in nanoseconds."""
DAY_NS: Final = 86_400_000_000_000
MOST_COLUMNS: Final = 31
MOST_ROLLED: Final = 1 + 3 * MOST_COLUMNS
"""The columns that a roll-up of so many has."""
MOST_TEXT: Final = 1024
"""Characters of a text value: a block must stay small enough to be read as a whole."""
BLOCK_BYTES: Final = 64 * 1024

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED: Final = ("zq_", "sqlite_")
_CODES: Final[dict[Kind, str]] = {"integer": "i", "real": "f", "text": "t"}
_Integer = Annotated[int, msgspec.Meta(ge=FIRST, le=END)]
Text = Annotated[str, msgspec.Meta(max_length=MOST_TEXT)]
_TYPES: Final[dict[Kind, Any]] = {"integer": _Integer, "real": float, "text": Text}


class Column(msgspec.Struct, frozen=True):
    """One value of every sample."""

    name: str
    kind: Kind


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """A series: its name, what its key is called, its columns, and how long what is kept.

    Samples are kept for `keep_ns`. Then those of `bucket_ns` become one row of the roll-up: how many there were and, of
    each number, the sum, the least and the most. That is kept for `keep_rolled_ns`. A `bucket_ns` of 0 makes none.
    """

    name: str
    columns: tuple[Column, ...]
    key: str = "key"
    keep_ns: int = 7 * DAY_NS
    bucket_ns: int = 300_000_000_000
    keep_rolled_ns: int = 90 * DAY_NS

    def check(self) -> None:
        """Raises ValidationError for names, kinds or lengths of time that cannot be."""
        names = [self.key, "at", *(column.name for column in self.columns)]
        wrong = [name for name in (self.name, *names) if not _NAME.fullmatch(name)]
        if wrong:
            raise ValidationError(f"{wrong[0]!r} cannot be a name in a series: use a-z, 0-9 and _, a letter first")
        if self.name.startswith(_RESERVED):
            raise ValidationError(f"{self.name!r} cannot be the name of a series: zq_ and sqlite_ are taken")
        unknown = [column.kind for column in self.columns if column.kind not in _CODES]
        if unknown:
            raise ValidationError(f"series {self.name}: a column is integer, real or text, not {unknown[0]!r}")
        if len(set(names)) < len(names):
            raise ValidationError(f"series {self.name}: two columns share a name (the time's is `at`)")
        if not 1 <= len(self.columns) <= MOST_COLUMNS:
            raise ValidationError(f"series {self.name}: 1 to {MOST_COLUMNS} columns, not {len(self.columns)}")
        if self.keep_ns <= 0 or self.bucket_ns < 0 or (self.bucket_ns and self.keep_rolled_ns <= self.keep_ns):
            raise ValidationError(f"series {self.name}: a roll-up is kept longer than samples, and both for some time")

    @property
    def kinds(self) -> str:
        """The kinds of a block's columns, the time first."""
        return "i" + "".join(_CODES[column.kind] for column in self.columns)

    @property
    def numbers(self) -> tuple[Column, ...]:
        """The columns that a roll-up sums."""
        return tuple(column for column in self.columns if column.kind != "text")

    @property
    def capacity(self) -> int:
        """The samples of a full block."""
        return BLOCK_BYTES // (8 * (len(self.columns) + 1))

    @property
    def small(self) -> int:
        """The samples that are worth a block before they fill one."""
        return self.capacity // 8

    @property
    def rows(self) -> Any:
        """The type of a list of samples, each a key, a time (UTC nanoseconds) and values."""
        sample = GenericAlias(tuple, (_Integer, _Integer, *(_TYPES[column.kind] for column in self.columns)))
        return GenericAlias(list, (sample,))

    def samples(self, given: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Samples, checked. Raises ValidationError for a value of another kind than its column's."""
        try:
            rows: list[tuple[Any, ...]] = msgspec.convert(given, self.rows)
        except msgspec.ValidationError as error:
            raise ValidationError(f"a sample does not fit the series {self.name}: {error}") from error
        return rows

    @property
    def rolled(self) -> Schema | None:
        """The series that the roll-up is kept in, if there is one."""
        if not self.bucket_ns:
            return None
        parts = [
            Column(f"{column.name}_{part}", "real") for column in self.numbers for part in ("sum", "least", "most")
        ]
        columns = (Column("samples", "integer"), *parts)
        name = f"{self.name}_rolled"
        return Schema(name=name, columns=columns, key=self.key, keep_ns=self.keep_rolled_ns, bucket_ns=0)
