"""How far the nodes that were there before a start are back."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from pyroaring import BitMap64


class RecoveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes that were online before the start, how many of them are back, and when the last of these came.

    `seconds` count from the start; None while nobody is back.
    """

    expected: int
    back: int
    seconds: float | None


class Recovery:
    """One run's. `expected` are the nodes that were online when the last run ended."""

    __slots__ = ("_expected", "_last", "_missing", "_started")

    def __init__(self, expected: Iterable[int], mono: float) -> None:
        self._missing = BitMap64(expected)
        self._expected = len(self._missing)
        self._started = mono
        self._last: float | None = None

    def came(self, node: int, mono: float) -> None:
        """A node's session stands."""
        if node in self._missing:
            self._missing.discard(node)
            self._last = mono

    def status(self) -> RecoveryStatus:
        """How far it is."""
        seconds = None if self._last is None else round(self._last - self._started, 3)
        return RecoveryStatus(expected=self._expected, back=self._expected - len(self._missing), seconds=seconds)
