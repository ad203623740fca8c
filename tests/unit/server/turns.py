"""An event loop whose time moves when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Turns:
    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, act: Callable[..., None], *about: Any) -> None:
        self.call_later(0.0, act, *about)

    def call_later(self, seconds: float, act: Callable[..., None], *about: Any) -> None:
        self.due.append((self.now + seconds, act, about))

    def pass_s(self, seconds: float) -> None:
        self.now += seconds
        ready = [(act, about) for at, act, about in self.due if at <= self.now]
        self.due = [later for later in self.due if later[0] > self.now]
        for act, about in ready:
            act(*about)
