"""Where connections come from that turn out to be no good: noise, forged proofs, messages without end.

Finding that out costs a hundred times what turning a connection away does. So each address may be wrong so many times,
and so often a second after that; what else comes from there is turned away before a byte of it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ghostwire.server.listen.source import source_of

SOURCES: Final = 16_384
"""Addresses that are remembered at most; those that failed least lately make way."""


class Failures:
    """A bucket an address, of which each failure takes one: `rate` a second, `burst` at once.

    What is kept of one is the moment at which its bucket will be full again (the generic cell rate algorithm of ITU-T
    I.371): addresses stand in the order of their last failure.
    """

    __slots__ = ("_burst_s", "_each_s", "_full_at", "_mono")

    def __init__(self, rate: float, burst: int, mono: Callable[[], float]) -> None:
        self._each_s = 1.0 / rate
        self._burst_s = burst / rate
        self._mono = mono
        self._full_at: dict[str | bytes, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def count(self, address: str) -> None:
        """A connection from there was no good."""
        source, now = source_of(address), self._mono()
        # Those that stood when the bucket was empty already are forgiven: nobody waits for longer than it fills.
        self._full_at[source] = min(max(now, self._full_at.pop(source, now)) + self._each_s, now + self._burst_s)
        if len(self._full_at) > SOURCES:
            del self._full_at[next(iter(self._full_at))]

    def too_many(self, address: str) -> bool:
        """Whether another one from there could not be afforded now."""
        full_at = self._full_at.get(source_of(address))
        return full_at is not None and full_at + self._each_s > self._mono() + self._burst_s
