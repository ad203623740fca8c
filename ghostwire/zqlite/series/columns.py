"""Samples as columns: rows into blocks, blocks and open rows into one window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from numpy import frombuffer

from ghostwire._native import blocks
from ghostwire.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ghostwire.zqlite.series.schema import Schema

DTYPES = {"i": np.dtype(np.int64), "f": np.dtype(np.float64)}

pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Any]).decode


class Window(NamedTuple):
    """The samples of one key in order of time. `columns` are arrays, or lists of text; nobody may write to them."""

    at: NDArray[np.int64]
    columns: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.at)

    def part(self, start: int, end: int) -> Window:
        """The samples from the position `start` until before `end`, without a copy of their numbers."""
        return Window(self.at[start:end], tuple(values[start:end] for values in self.columns))


def block(schema: Schema, times: Sequence[int] | NDArray[np.int64], columns: Sequence[Any]) -> blocks.Block:
    """Samples as a block. Raises ValidationError for values of another kind than their column's."""
    given: list[Any] = [
        values if kind == "t" else np.ascontiguousarray(values, DTYPES[kind])
        for kind, values in zip(schema.kinds, (times, *columns), strict=True)
    ]
    return blocks.Block.of(schema.kinds, given)


def of_block(found: blocks.Block, since: int, until: int) -> Window:
    """What a block has from `since` until before `until`, without a copy of its numbers."""
    start, end = found.between(0, since, until)
    values: Any = found.values  # numpy takes any buffer, whatever its stubs say
    columns: list[Any] = [
        found.texts(at, start, end) if kind == "t" else frombuffer(values(at), DTYPES[kind])[start:end]
        for at, kind in enumerate(found.kinds)
    ]
    return Window(columns[0], tuple(columns[1:]))


def of_rows(schema: Schema, rows: Sequence[tuple[int, bytes]]) -> Window:
    """Open samples, given as time and packed values. Raises DatabaseError where they are not what was packed."""
    try:
        values = [_unpack(sample) for _, sample in rows]
        columns = [
            [row[at] for row in values] if kind == "t" else np.array([row[at] for row in values], DTYPES[kind])
            for at, kind in enumerate(schema.kinds[1:])
        ]
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise DatabaseError(f"open samples of the series {schema.name} are damaged: {error}") from error
    return Window(np.array([at for at, _ in rows], np.int64), tuple(columns))


def join(schema: Schema, parts: Sequence[Window]) -> Window:
    """Windows of one key as one, in order of time; of samples at the same time, those given first come first."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return of_rows(schema, ())
    times = np.concatenate([part.at for part in parts])
    columns = [
        [text for part in parts for text in part.columns[at]]
        if kind == "t"
        else np.concatenate([part.columns[at] for part in parts])
        for at, kind in enumerate(schema.kinds[1:])
    ]
    if (times[1:] >= times[:-1]).all():
        return Window(times, tuple(columns))
    order = times.argsort(kind="stable")
    picked = [values[order] if isinstance(values, np.ndarray) else [values[at] for at in order] for values in columns]
    return Window(times[order], tuple(picked))
