"""The two clocks that every machine is handed: one for timers, one for what is written down."""

from __future__ import annotations

from typing import Final, NamedTuple

SECOND: Final = 1_000_000_000
"""Nanoseconds in a second."""


class Now(NamedTuple):
    """`mono`: monotonic seconds, for timers. `utc`: nanoseconds since 1970 in UTC, for what lasts."""

    mono: float
    utc: int
