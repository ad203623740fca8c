"""A clock that only moves when told to."""

from __future__ import annotations

from typing import Final

from ghostwire.model.time import SECOND, Now

START_UTC: Final = 1_750_000_000 * SECOND


class ManualClock:
    """Virtual time. Both clocks move together; `set_back` moves the wall clock alone, as an operator may."""

    def __init__(self, mono: float = 1000.0, utc: int = START_UTC) -> None:
        self.mono = mono
        self._utc_at_zero = utc - round(mono * SECOND)

    def __call__(self) -> Now:
        """The time now."""
        return Now(self.mono, self._utc_at_zero + round(self.mono * SECOND))

    def advance(self, seconds: float) -> Now:
        """Let so many seconds pass; the time then."""
        return self.move_to(self.mono + seconds)

    def move_to(self, mono: float) -> Now:
        """Let time pass until this monotonic second; the time then."""
        if mono < self.mono:
            raise ValueError(f"time does not run backwards: {mono} is before {self.mono}")
        self.mono = mono
        return self()

    def set_back(self, seconds: float) -> None:
        """Set the wall clock back."""
        self._utc_at_zero -= round(seconds * SECOND)
