"""Samples and roll-ups summed over stretches of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ghostwire.errors import ValidationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ghostwire.zqlite.series.columns import Window
    from ghostwire.zqlite.series.schema import Schema

MOST_BUCKETS = 10_000


class Sums(NamedTuple):
    """Of each stretch that has samples: its start, how many, and of each number their sum, least and most."""

    at: NDArray[np.int64]
    samples: NDArray[np.int64]
    sums: tuple[NDArray[np.float64], ...]
    least: tuple[NDArray[np.float64], ...]
    most: tuple[NDArray[np.float64], ...]

    def rows(self, key: int) -> list[tuple[Any, ...]]:
        """As samples of the roll-up's series."""
        parts = [values for column in zip(self.sums, self.least, self.most, strict=True) for values in column]
        columns = [self.at, self.samples, *parts]
        return [(key, *row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def of_samples(schema: Schema, window: Window) -> Sums:
    """Each sample as a stretch of its own."""
    numbers = tuple(
        np.asarray(values, np.float64)
        for column, values in zip(schema.columns, window.columns, strict=True)
        if column.kind != "text"
    )
    return Sums(window.at, np.ones(len(window.at), np.int64), numbers, numbers, numbers)


def of_rolled(window: Window) -> Sums:
    """The samples of the roll-up's series, which are stretches already."""
    samples, *parts = window.columns
    return Sums(window.at, samples, tuple(parts[0::3]), tuple(parts[1::3]), tuple(parts[2::3]))


def join(parts: list[Sums]) -> Sums:
    """Stretches of several sources, in order of time."""
    at = np.concatenate([part.at for part in parts])
    order = at.argsort(kind="stable")

    def column(pick: str) -> tuple[NDArray[np.float64], ...]:
        columns = zip(*(getattr(part, pick) for part in parts), strict=True)
        return tuple(np.concatenate(values)[order] for values in columns)

    samples = np.concatenate([part.samples for part in parts])[order]
    return Sums(at[order], samples, column("sums"), column("least"), column("most"))


def whole(parts: Sums, since: int) -> Sums:
    """All of them as one stretch from `since` on."""
    return Sums(
        np.array([since]),
        parts.samples.sum(keepdims=True),
        tuple(values.sum(keepdims=True) for values in parts.sums),
        tuple(values.min(keepdims=True) for values in parts.least),
        tuple(values.max(keepdims=True) for values in parts.most),
    )


def regroup(parts: Sums, step_ns: int, origin: int = 0) -> Sums:
    """The same in longer stretches, counted from `origin`. A stretch belongs where it starts.

    Raises ValidationError for a step that is none.
    """
    if step_ns <= 0:
        raise ValidationError("a step of time is longer than nothing")
    if not len(parts.at):
        return parts
    starts = (parts.at - origin) // step_ns * step_ns + origin
    first = np.flatnonzero(np.concatenate(([True], starts[1:] != starts[:-1])))
    return Sums(
        starts[first],
        np.add.reduceat(parts.samples, first),
        tuple(np.add.reduceat(values, first) for values in parts.sums),
        tuple(np.minimum.reduceat(values, first) for values in parts.least),
        tuple(np.maximum.reduceat(values, first) for values in parts.most),
    )
