"""Rows of a table as columns, for snapshots: values of one kind lie together and pack into less.

A packed group of rows is a column block (`gw-blocks`) without a seal of its own: the file's pages are encrypted, and
what leaves the file is sealed as a whole. Its first column says, in every row the same, the table's id and the form of
each column; the second holds the keys. Columns of several kinds of values, NULL counted in, hold each one as msgpack.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ghostwire._native import blocks
from ghostwire.errors import DatabaseError, ValidationError
from ghostwire.zqlite.changelog import INSERT

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_BYTES: Final = 64 * 1024
LEAST_ROWS: Final = 32
"""Of fewer, the head of a block would outweigh what it saves."""

_MIXED: Final = "m"
_FORMS: Final[dict[type, str]] = {int: "i", float: "f", str: "t", bytes: "b"}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def fits(columns: int) -> int:
    """How many rows with so many values go into one block."""
    return BLOCK_BYTES // (8 * (columns + 2))


def pack(entries: Sequence[Any]) -> bytes | None:
    """Entries `(table, INSERT, key, values)` of one table as a block; None where they are too few or too large."""
    if len(entries) < LEAST_ROWS:
        return None
    keys = [key for _, _, key, _ in entries]
    columns = [keys, *(list(values) for values in zip(*(values for *_, values in entries), strict=True))]
    forms = "".join(map(_form, columns))
    head = f"{entries[0][0]}:{forms}"
    given = [_column(form, values) for form, values in zip(forms, columns, strict=True)]
    try:
        return blocks.Block.of(_kinds(forms), [[head] * len(entries), *given]).pack()
    except ValidationError:
        return None


def unpack(packed: bytes) -> list[Any]:
    """The entries in a block that `pack` made. Raises DatabaseError where it is damaged."""
    block = blocks.Block.unpack(packed)
    try:
        table, _, forms = str(block.texts(0, 0, 1)[0]).partition(":")
        if block.kinds != _kinds(forms):
            raise ValueError("the columns are not what the first one says")
        keys, *columns = (_values(block, at, form) for at, form in enumerate(forms, 1))
        return [(int(table), INSERT, key, values) for key, values in zip(keys, zip(*columns, strict=True), strict=True)]
    except (ValidationError, ValueError, IndexError, msgspec.MsgspecError) as error:
        raise DatabaseError(f"rows of a snapshot are damaged: {error}") from error


def _kinds(forms: str) -> str:
    return "t" + forms.replace(_MIXED, "b")


def _form(values: list[Any]) -> str:
    kinds = set(map(type, values))
    return _FORMS.get(kinds.pop(), _MIXED) if len(kinds) == 1 else _MIXED


def _column(form: str, values: list[Any]) -> Any:
    if form == _MIXED:
        return [_encode(value) for value in values]
    return array("q" if form == "i" else "d", values) if form in "if" else values


def _values(block: blocks.Block, at: int, form: str) -> list[Any]:
    if form in "if":
        return memoryview(block.values(at)).cast("q" if form == "i" else "d").tolist()
    texts: list[Any] = block.texts(at, 0, block.rows)
    return [_decode(text) for text in texts] if form == _MIXED else texts
