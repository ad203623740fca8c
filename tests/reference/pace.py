"""Twin of `core_ext.pace`: floats and two plain classes."""

from __future__ import annotations

from typing import Final

from ghostwire.errors import ResourceExhaustedError, WireError

FORGIVEN: Final = 50
"""Questions beyond the rate that are refused one by one; after that there is no more patience."""


class Bucket:
    """`rate` tokens a second, at most `burst` of them."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float) -> float:
        """Take one token: 0 when there was one, else the seconds until there is."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate

    def charge(self, tokens: float) -> None:
        """Take tokens for what was dearer than it looked. They may be more than there are: then the next ones wait."""
        self._tokens -= tokens


class Pace:
    """A bucket whose owner refuses what is asked too fast."""

    __slots__ = ("_bucket", "_excess")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._bucket = Bucket(rate, burst, now)
        self._excess = 0

    def take(self, now: float) -> None:
        """Count one question. Raises `ResourceExhaustedError` beyond the rate, `WireError` when that goes on."""
        wait = self._bucket.take(now)
        if not wait:
            return
        self._excess += 1
        if self._excess > FORGIVEN:
            raise WireError("far too many messages a second")
        raise ResourceExhaustedError("too many messages a second: slow down", retry_after=wait)

    def charge(self, tokens: float) -> None:
        """Count an answer that was dearer than its question looked."""
        self._bucket.charge(tokens)
