"""Twin of `core_ext.pace`: floats and two plain classes."""

from __future__ import annotations

from typing import Final

TOGETHER: Final = 10
"""Frames that are let in at a time from whoever sent too many."""


class Bucket:
    """`rate` tokens a second, at most `burst` of them."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Seconds until there are so many tokens; 0 where there are."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._tokens >= tokens else (tokens - self._tokens) / self._rate

    def take(self, now: float) -> float:
        """Take one token: 0 when there was one, else the seconds until there is."""
        wait = self.wait(now)
        if not wait:
            self._tokens -= 1.0
        return wait

    def charge(self, tokens: float) -> None:
        """Take tokens for what was dearer than it looked. They may be more than there are: then the next ones wait."""
        self._tokens -= tokens


class Pace:
    """A bucket whose owner lets in what has come, and then takes no more until a few more may come."""

    __slots__ = ("_bucket", "_few")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._bucket = Bucket(rate, burst, now)
        self._few = min(burst, TOGETHER)

    def take(self, now: float) -> float:
        """Count one frame: 0 while another may follow it at once, else the seconds for which none may."""
        self._bucket.wait(now)
        self._bucket.charge(1.0)
        return self._bucket.wait(now, self._few) if self._bucket.wait(now) else 0.0

    def charge(self, tokens: float) -> None:
        """Count an answer that was dearer than its question looked."""
        self._bucket.charge(tokens)
